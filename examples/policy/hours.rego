# Roles with `hours` write only in them; when a tool is listed, the clock does not matter.
package airlock

import rego.v1

in_hours(role) if not data.demo.roles[role].hours

in_hours(role) if {
	data.demo.roles[role].hours
	input.phase == "list"
}

in_hours(role) if {
	hours := data.demo.roles[role].hours
	input.context.time.weekday in hours.days
	input.context.time.hour >= hours.from
	input.context.time.hour < hours.until
}

# Only the clock stands in the way.
out_of_hours if {
	some role in granted
	input.target.sensitivity in data.demo.roles[role].sensitivity
	data.demo.roles[role].writes
	not in_hours(role)
}
