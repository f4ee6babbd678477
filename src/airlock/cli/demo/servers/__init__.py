"""The two MCP servers of the demo, run as programs of their own."""
