"""An MCP server over stdio, on the official SDK: mail that goes nowhere.

A program by itself: it imports nothing of Airlock, reads no file and speaks to nobody but its own pipes.
"""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer

server = MCPServer("mail", version="1", log_level="ERROR")


@server.tool()
def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"Sent {len(text)} characters to {to}"


@server.tool()
def list_mail() -> list[str]:
    """The mail that came in."""
    return ["Welcome."]


if __name__ == "__main__":
    server.run("stdio")
