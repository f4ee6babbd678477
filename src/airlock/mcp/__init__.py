"""The wire format of MCP, without I/O."""
