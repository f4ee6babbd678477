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
