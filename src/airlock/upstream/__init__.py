"""MCP servers: HTTP and stdio, guarded and supervised."""
