# The policy of the demo: what the gateway asks is in `input`, names and limits are in data.json.
#
# 1. Who belongs to another tenant than the server has no business there.
# 2. A tool is in a list only if a role of the caller names it.
# 3. A discount has a limit, whoever gives it.
# 4. A call needs a role that may use the tool; others learn why not.
package airlock

import rego.v1

decision := {"allow": false, "reason": "tenant_mismatch", "rule": "demo.tenant"} if {
	not same_tenant
} else := {"allow": false, "reason": "not_granted", "rule": "demo.hidden"} if {
	not listed
} else := {"allow": true, "reason": "role_sees", "rule": "demo.list"} if {
	input.phase == "list"
} else := {"allow": false, "reason": "discount_too_high", "rule": "demo.discount"} if {
	discount_too_high
} else := {"allow": true, "reason": "role_may", "rule": "demo.role"} if {
	granted
} else := {"allow": false, "reason": "editors_only", "rule": "demo.default"}

same_tenant if input.target.tenant == ""

same_tenant if input.target.tenant == input.subject.tenant

tool := concat("/", [input.target.server, input.target.name])

listed if {
	some role in input.subject.roles
	some pattern in data.demo.roles[role].sees
	glob.match(pattern, ["/"], tool)
}

granted if {
	some role in input.subject.roles
	some pattern in data.demo.roles[role].uses
	glob.match(pattern, ["/"], tool)
}

# Whatever is no number within the limit is too high.
discount_too_high if {
	tool == "catalogue/discount"
	not small_discount
}

small_discount if {
	is_number(input.arguments.percent)
	input.arguments.percent >= 0
	input.arguments.percent <= data.demo.most_discount
}
