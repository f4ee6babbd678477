"""The management HTTP API: a module per resource."""
