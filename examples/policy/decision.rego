# A complete policy for a small team: tenants, roles with tool patterns, rules on arguments, working hours.
#
# The order of the answers is the order of the checks. Everything up to `roles` only refuses; a role is what allows.
# The names of roles, tools and folders are in data.json; the rules here do not change when a name does.
package airlock

import rego.v1

decision := {"allow": false, "reason": "tenant_mismatch", "rule": "tenants.target"} if {
	not same_tenant
} else := {"allow": false, "reason": "server_not_for_tenant", "rule": "tenants.servers"} if {
	not server_for_tenant
} else := {"allow": false, "reason": "definition_not_approved", "rule": "tools.approved"} if {
	not input.target.approved
} else := {"allow": false, "reason": "argument_not_allowed", "rule": "arguments.names"} if {
	unknown_argument
} else := {"allow": false, "reason": "path_not_allowed", "rule": "arguments.paths"} if {
	forbidden_path
} else := {"allow": true, "reason": "role_admin", "rule": "roles.admin"} if {
	"admin" in input.subject.roles
} else := {"allow": false, "reason": "admin_only", "rule": "roles.admin_only"} if {
	not input.action in uses
} else := {"allow": true, "reason": "role_reads", "rule": "roles.reads"} if {
	input.target.read_only
	some role in granted
	input.target.sensitivity in data.demo.roles[role].sensitivity
} else := {
	"allow": true,
	"reason": "role_writes",
	"rule": "roles.writes",
	"obligations": {"audit": "intent"},
} if {
	some role in granted
	input.target.sensitivity in data.demo.roles[role].sensitivity
	data.demo.roles[role].writes
	in_hours(role)
} else := {"allow": true, "reason": "role_may_ask", "rule": "roles.approval.list"} if {
	input.phase == "list"
	count(approvers) > 0
} else := {
	"allow": true,
	"reason": "approval_required",
	"rule": "roles.approval",
	"approval": {"by": approvers, "within_s": 600},
} if {
	count(approvers) > 0
} else := {"allow": false, "reason": "outside_hours", "rule": "hours"} if {
	out_of_hours
} else := {"allow": false, "reason": "not_granted", "rule": "default"}

# What a client may ask for. Anything else is administrative or comes from a server.
uses := {"tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"}

same_tenant if input.target.tenant == ""

same_tenant if input.target.tenant == input.subject.tenant

server_for_tenant if {
	some pattern in data.demo.tenants[input.subject.tenant].servers
	glob.match(pattern, ["/"], input.target.server)
}
