package airlock_test

import rego.v1

question(phase, action, roles, target) := {
	"phase": phase,
	"action": action,
	"subject": {"tenant": "acme", "roles": roles},
	"target": object.union({"tenant": "acme", "sensitivity": "low", "read_only": true}, target),
}

ask(roles, target) := answer if {
	answer := data.airlock.decision with input as question("call", "tools/call", roles, target)
}

ask_list(roles, target) := answer if {
	answer := data.airlock.decision with input as question("list", "tools/call", roles, target)
}

ask_action(roles, action) := answer if {
	answer := data.airlock.decision with input as question("call", action, roles, {"tenant": ""})
}

levels := {"low", "medium", "high", "critical"}

test_viewer_uses_what_is_read_only_and_low if {
	ask(["viewer"], {}) == {"allow": true, "reason": "role_viewer", "rule": "starter.viewer"}
}

test_viewer_uses_nothing_that_writes if {
	ask(["viewer"], {"read_only": false}).reason == "role_insufficient"
	not ask(["viewer"], {"read_only": false}).allow
}

test_viewer_uses_nothing_above_low if {
	every level in levels - {"low"} {
		ask(["viewer"], {"sensitivity": level}).allow == false
	}
}

test_developer_uses_low_and_medium_also_to_write if {
	every level in {"low", "medium"} {
		answer := ask(["developer"], {"sensitivity": level, "read_only": false})
		answer.allow
		not answer.approval
	}
}

test_developer_needs_an_approval_above_medium if {
	every level in {"high", "critical"} {
		ask(["developer"], {"sensitivity": level}).approval == {"by": ["admin"], "within_s": 600}
	}
}

test_developer_sees_what_an_approval_would_open if {
	every level in levels {
		ask_list(["developer"], {"sensitivity": level}).allow
	}
}

test_admin_uses_everything_of_the_tenant if {
	every level in levels {
		ask(["admin"], {"sensitivity": level, "read_only": false}).reason == "role_admin"
	}
}

test_nobody_crosses_tenants if {
	every roles in [[], ["viewer"], ["developer"], ["admin"]] {
		ask(roles, {"tenant": "globex"}) == {"allow": false, "reason": "tenant_mismatch", "rule": "starter.tenant"}
	}
}

test_target_without_tenant_belongs_to_all if {
	ask(["viewer"], {"tenant": ""}).allow
}

test_unknown_roles_get_nothing if {
	every roles in [[], ["guest"], ["Admin"], ["viewers"]] {
		ask(roles, {}) == {"allow": false, "reason": "role_missing", "rule": "starter.default"}
	}
}

test_administrative_actions_need_admin if {
	every roles in [[], ["viewer"], ["developer"]] {
		ask_action(roles, "admin:servers.update").reason == "admin_only"
	}
	ask_action(["admin"], "admin:servers.update").allow
}

test_requests_of_servers_need_admin if {
	every action in {"sampling/createMessage", "elicitation/create", "roots/list"} {
		ask_action(["developer"], action).reason == "admin_only"
		ask_action(["admin"], action).allow
	}
}

test_every_use_of_a_client_is_decided_alike if {
	every action in {"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"} {
		ask_action(["viewer"], action).reason == "role_viewer"
	}
}
