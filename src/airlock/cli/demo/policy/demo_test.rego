package airlock_test

import rego.v1

base := {
	"phase": "call",
	"subject": {"tenant": "acme", "roles": ["analyst"]},
	"target": {"server": "notes", "name": "read_note", "tenant": "acme"},
	"arguments": {},
}

ask(change) := answer if {
	answer := data.airlock.decision with input as object.union(base, change)
}

test_an_analyst_reads if ask({}).allow

test_an_analyst_sees_that_notes_can_be_written_and_learns_why_not if {
	write := {"target": {"name": "write_note"}}
	ask(object.union(write, {"phase": "list"})).allow
	ask(write).reason == "editors_only"
}

test_what_a_list_hides_is_refused if {
	delete := {"target": {"name": "delete_note"}}
	not ask(object.union(delete, {"phase": "list"})).allow
	ask(delete).reason == "not_granted"
}

test_an_editor_may_do_everything_of_the_tenant if {
	ask({"subject": {"roles": ["editor"]}, "target": {"name": "delete_note"}}).allow
	ask({"subject": {"roles": ["editor"], "tenant": "globex"}}).reason == "tenant_mismatch"
}

test_a_discount_has_a_limit if {
	discount := {"target": {"server": "catalogue", "name": "discount", "tenant": ""}}
	every percent in [0, 5, 20] {
		ask(object.union(discount, {"arguments": {"percent": percent}})).allow
	}
	every percent in [20.5, 80, -1, "5", null, [5], true] {
		ask(object.union(discount, {"arguments": {"percent": percent}})).reason == "discount_too_high"
	}
	ask(discount).reason == "discount_too_high"
}
