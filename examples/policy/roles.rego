package airlock

import rego.v1

# Roles of the caller that name the tool, whatever its class.
granted contains role if {
	some role in input.subject.roles
	some pattern in data.demo.roles[role].tools
	glob.match(pattern, ["/"], tool)
}

tool := concat("/", [input.target.server, input.target.name])

# Who has to agree, for a role that may use a class of tools only with an approval.
approvers contains person if {
	some role in granted
	input.target.sensitivity in data.demo.roles[role].approval.sensitivity
	some person in data.demo.roles[role].approval.by
}
