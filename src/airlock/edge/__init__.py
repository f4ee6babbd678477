"""The HTTP face of MCP: bytes in, bytes out."""
