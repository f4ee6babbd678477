"""The ASGI face of MCP: bytes in, bytes out."""
