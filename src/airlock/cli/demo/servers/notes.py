"""An MCP server over stdio, on the official SDK: a notebook in memory.

A program by itself: it imports nothing of Airlock, reads no file and speaks to nobody but its own pipes.
"""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes", version="1", log_level="ERROR")

notes = {"welcome": "Notes of the team at acme.", "roadmap": "First the audit log, then everything else."}


@server.tool()
def list_notes() -> list[str]:
    """The names of all notes."""
    return sorted(notes)


@server.tool()
def read_note(name: str) -> str:
    """The text of a note."""
    return notes.get(name, "There is no such note.")


@server.tool()
def write_note(name: str, text: str) -> str:
    """Write a note, or write it anew."""
    notes[name] = text
    return f"Written: {name}"


@server.tool()
def delete_note(name: str) -> str:
    """Throw a note away."""
    return "Deleted." if notes.pop(name, None) is not None else "There is no such note."


if __name__ == "__main__":
    server.run("stdio")
