# Servers of files: every path lies in an allowed folder, nothing hidden, no way up; no argument that we do not know.
# A relative path counts from the folder that the server was started with.
package airlock

import rego.v1

guarded if {
	input.phase == "call"
	input.target.server in data.demo.files.servers
}

unknown_argument if {
	guarded
	some name, _ in input.arguments
	not name in data.demo.files.path_arguments
	not name in data.demo.files.other_arguments
}

forbidden_path if {
	guarded
	some path in paths
	not allowed_path(path)
}

# An argument is one path or a list of paths; anything else is taken as it is, and then is no allowed path.
paths contains path if {
	some name, path in input.arguments
	name in data.demo.files.path_arguments
	not is_array(path)
}

paths contains path if {
	some name, listed in input.arguments
	name in data.demo.files.path_arguments
	is_array(listed)
	some path in listed
}

allowed_path(path) if {
	is_string(path)
	not odd_path(path)
	some folder in data.demo.files.folders
	within(path, folder)
}

within(path, folder) if path == folder

within(path, folder) if startswith(path, concat("", [folder, "/"]))

# `.git`, `..` and `.` begin with a dot; a backslash or a zero byte means something else to another system.
odd_path(path) if {
	some part in split(path, "/")
	startswith(part, ".")
}

odd_path(path) if contains(path, "\\")

odd_path(path) if contains(path, "\u0000")
