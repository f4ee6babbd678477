package airlock_test

import rego.v1

base := {
	"phase": "call",
	"action": "tools/call",
	"subject": {"tenant": "acme", "roles": []},
	"target": {
		"server": "docs", "name": "search", "tenant": "", "sensitivity": "low",
		"read_only": true, "approved": true,
	},
	"arguments": {},
	"context": {"time": {"hour": 14, "minute": 5, "weekday": "wed"}},
}

ask(change) := answer if {
	answer := data.airlock.decision with input as object.union(base, change)
}

files(role, tool, arguments) := {
	"subject": {"roles": [role]},
	"target": {"server": "files", "name": tool},
	"arguments": arguments,
}

test_nobody_is_refused if ask({}) == {"allow": false, "reason": "not_granted", "rule": "default"}

test_unknown_tenant_has_no_server if ask({"subject": {"tenant": "initech", "roles": ["admin"]}}).reason == "server_not_for_tenant"

test_globex_has_docs_only if {
	ask({"subject": {"tenant": "globex", "roles": ["viewer"]}}).allow
	question := {"subject": {"tenant": "globex", "roles": ["developer"]}, "target": {"server": "files"}}
	ask(question).reason == "server_not_for_tenant"
}

test_nobody_crosses_tenants if {
	ask({"subject": {"roles": ["admin"]}, "target": {"tenant": "globex"}}).reason == "tenant_mismatch"
}

test_changed_definition_is_refused if {
	ask({"subject": {"roles": ["admin"]}, "target": {"approved": false}}).reason == "definition_not_approved"
}

test_viewer_reads_by_pattern if {
	ask(files("viewer", "read_text_file", {"path": "public/a.txt"})).reason == "role_reads"
	ask(files("viewer", "move_file", {"source": "public/a", "destination": "public/b"})).reason == "not_granted"
}

test_viewer_never_writes if {
	ask({"subject": {"roles": ["viewer"]}, "target": {"read_only": false}}).reason == "not_granted"
}

test_paths_stay_in_their_folders if {
	every path in [
		"private/salaries.csv", "public/../private/salaries.csv", "public/.git/config", "/etc/passwd",
		"publicity/a.txt", "public\\..\\private", "~/a", "", "/srv/docs/../x", "public/a\u0000.txt", "./public/a",
		7, null, {"path": "public/a"}, true,
	] {
		ask(files("developer", "read_text_file", {"path": path})).reason == "path_not_allowed"
		ask(files("developer", "read_multiple_files", {"paths": ["public/a.txt", path]})).reason == "path_not_allowed"
		ask(files("admin", "move_file", {"source": "public/a", "destination": path})).reason == "path_not_allowed"
	}
}

test_paths_in_allowed_folders_pass if {
	every path in ["public", "public/a.txt", "public/a/b.c..d", "/srv/docs", "/srv/docs/a"] {
		ask(files("developer", "read_text_file", {"path": path})).allow
	}
}

test_unknown_arguments_are_refused if {
	ask(files("developer", "read_text_file", {"file": "/etc/passwd"})).reason == "argument_not_allowed"
}

test_contractor_writes_in_working_hours if {
	question := object.union(
		files("contractor", "write_file", {"path": "public/a", "content": "x"}),
		{"target": {"read_only": false, "sensitivity": "medium"}},
	)
	ask(question) == {
		"allow": true, "reason": "role_writes", "rule": "roles.writes",
		"obligations": {"audit": "intent"},
	}
	every moment in [{"hour": 7}, {"hour": 18}, {"weekday": "sat"}, {"weekday": "sun"}] {
		ask(object.union(question, {"context": {"time": moment}})).reason == "outside_hours"
	}
	ask(object.union(question, {"phase": "list", "arguments": {}, "context": {"time": {"hour": 3}}})).allow
}

test_contractor_reads_at_any_hour if {
	ask(object.union(
		files("contractor", "read_text_file", {"path": "public/a"}),
		{"context": {"time": {"hour": 3}}},
	)).reason == "role_reads"
}

test_developer_asks_security_above_medium if {
	question := {"subject": {"roles": ["developer"]}, "target": {"sensitivity": "high"}}
	ask(question).approval == {"by": {"security"}, "within_s": 600}
	ask(object.union(question, {"phase": "list"})) == {"allow": true, "reason": "role_may_ask", "rule": "roles.approval.list"}
}

test_administrative_actions_need_admin if {
	ask({"subject": {"roles": ["developer"]}, "action": "admin:servers.update"}).reason == "admin_only"
	ask({"subject": {"roles": ["admin"]}, "action": "admin:servers.update"}).reason == "role_admin"
}
