"""The composition root: from a configuration to running processes, and the only room that names classes."""
