# The policy that applies when none is configured.
#
# - Subject and target belong to one tenant; a target without a tenant belongs to all.
# - viewer: lists and uses what is read-only and of low sensitivity.
# - developer: also what is of low or medium sensitivity; for high and critical an admin has to approve.
# - admin: everything, administrative actions and requests of servers included.
# - Nobody else anything.
package airlock

import rego.v1

decision := {"allow": false, "reason": "tenant_mismatch", "rule": "starter.tenant"} if {
	not same_tenant
} else := {"allow": true, "reason": "role_admin", "rule": "starter.admin"} if {
	"admin" in input.subject.roles
} else := {"allow": false, "reason": "admin_only", "rule": "starter.admin_only"} if {
	not input.action in uses
} else := {"allow": true, "reason": "role_developer", "rule": "starter.developer"} if {
	"developer" in input.subject.roles
	input.target.sensitivity in {"low", "medium"}
} else := {"allow": true, "reason": "role_developer", "rule": "starter.developer.list"} if {
	"developer" in input.subject.roles
	input.phase == "list"
} else := {
	"allow": true,
	"reason": "approval_required",
	"rule": "starter.developer.approval",
	"approval": {"by": ["admin"], "within_s": 600},
} if {
	"developer" in input.subject.roles
} else := {"allow": true, "reason": "role_viewer", "rule": "starter.viewer"} if {
	"viewer" in input.subject.roles
	input.target.sensitivity == "low"
	input.target.read_only == true
} else := {"allow": false, "reason": "role_insufficient", "rule": "starter.viewer.limit"} if {
	"viewer" in input.subject.roles
} else := {"allow": false, "reason": "role_missing", "rule": "starter.default"}

same_tenant if input.target.tenant == ""

same_tenant if input.target.tenant == input.subject.tenant

# What a client may ask for. Anything else is administrative or comes from a server.
uses := {"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"}

# Tests: what a question leaves out is that of a call that a viewer may make.
asked(roles, more) := object.union(
	{
		"phase": "call",
		"action": "tools/call",
		"subject": {"tenant": "acme", "roles": roles},
		"target": {"tenant": "acme", "sensitivity": "low", "read_only": true},
	},
	more,
)

levels := {"low", "medium", "high", "critical"}

test_viewer_uses_what_is_read_only_and_low if {
	decision == {"allow": true, "reason": "role_viewer", "rule": "starter.viewer"} with input as asked(["viewer"], {})
}

test_viewer_uses_nothing_that_writes if {
	answer := decision with input as asked(["viewer"], {"target": {"read_only": false}})
	answer.reason == "role_insufficient"
	not answer.allow
}

test_viewer_uses_nothing_above_low if {
	every level in levels - {"low"} {
		answer := decision with input as asked(["viewer"], {"target": {"sensitivity": level}})
		answer.allow == false
	}
}

test_developer_uses_low_and_medium_also_to_write if {
	every level in {"low", "medium"} {
		answer := decision with input as asked(["developer"], {"target": {"sensitivity": level, "read_only": false}})
		answer.allow
		not answer.approval
	}
}

test_developer_needs_an_approval_above_medium if {
	every level in {"high", "critical"} {
		answer := decision with input as asked(["developer"], {"target": {"sensitivity": level}})
		answer.approval == {"by": ["admin"], "within_s": 600}
	}
}

test_developer_sees_what_an_approval_would_open if {
	every level in levels {
		answer := decision with input as asked(["developer"], {"phase": "list", "target": {"sensitivity": level}})
		answer.allow
	}
}

test_admin_uses_everything_of_the_tenant if {
	every level in levels {
		answer := decision with input as asked(["admin"], {"target": {"sensitivity": level, "read_only": false}})
		answer.reason == "role_admin"
	}
}

test_nobody_crosses_tenants if {
	every roles in [[], ["viewer"], ["developer"], ["admin"]] {
		answer := decision with input as asked(roles, {"target": {"tenant": "globex"}})
		answer == {"allow": false, "reason": "tenant_mismatch", "rule": "starter.tenant"}
	}
}

test_target_without_tenant_belongs_to_all if {
	decision.allow with input as asked(["viewer"], {"target": {"tenant": ""}})
}

test_unknown_roles_get_nothing if {
	every roles in [[], ["guest"], ["Admin"], ["viewers"]] {
		answer := decision with input as asked(roles, {})
		answer == {"allow": false, "reason": "role_missing", "rule": "starter.default"}
	}
}

test_administrative_actions_need_admin if {
	every roles in [[], ["viewer"], ["developer"]] {
		answer := decision with input as asked(roles, {"action": "admin:servers.update"})
		answer.reason == "admin_only"
	}
	decision.allow with input as asked(["admin"], {"action": "admin:servers.update"})
}

test_requests_of_servers_need_admin if {
	every action in {"sampling/createMessage", "elicitation/create", "roots/list"} {
		answer := decision with input as asked(["developer"], {"action": action})
		answer.reason == "admin_only"
	}
	every action in {"sampling/createMessage", "elicitation/create", "roots/list"} {
		decision.allow with input as asked(["admin"], {"action": action})
	}
}

test_every_use_of_a_client_is_decided_alike if {
	every action in uses {
		answer := decision with input as asked(["viewer"], {"action": action})
		answer.reason == "role_viewer"
	}
}
