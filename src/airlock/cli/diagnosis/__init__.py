"""The checks of `airlock doctor`, a module for each kind of what is looked at."""
