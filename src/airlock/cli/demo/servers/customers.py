"""An MCP server over Streamable HTTP, on the official SDK: a register of customers that somebody wants.

`python customers.py LISTENER FOLDER`: an inherited listening socket, and the folder of the demo. There it
notes every call that it receives in `calls.jsonl`, and in `taken.jsonl` every part of an export that it sent.
While a file `slow` lies there, each call takes as many seconds as it says.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer

PARTS = 1200
"""Parts of a whole export: two minutes of them."""

PAUSE = 0.1
"""Seconds between two."""


def customer(number: int) -> str:
    """One customer."""
    return f"customer {number}: likes lamps"


def build(folder: Path) -> MCPServer:
    """The server, which notes calls in `folder`."""

    async def look(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "tools/call":
            note(folder / "calls.jsonl", ctx.params)
            await asyncio.sleep(slowness(folder / "slow"))
        return await call_next(ctx)

    async def export(ctx: Context, table: str) -> str:
        """Every customer, one after the other."""
        for part in range(PARTS):
            note(folder / "taken.jsonl", {"part": part, "table": table})
            await ctx.report_progress(part, PARTS, customer(part))
            await asyncio.sleep(PAUSE)
        return f"{PARTS} customers of {table}"

    server = MCPServer("customers", version="1", log_level="ERROR", middleware=[look])
    server.add_tool(customer)
    server.add_tool(export)
    return server


def slowness(path: Path) -> float:
    """Seconds that a call takes longer than it has to."""
    try:
        return float(path.read_text())
    except FileNotFoundError:
        return 0.0


def note(path: Path, what: object) -> None:
    """Write down what happened."""
    with path.open("a") as file:
        file.write(json.dumps(what) + "\n")


def main(listener: socket.socket, folder: Path) -> None:
    """Serve until told to stop."""
    application = build(folder).streamable_http_app(stateless_http=True)
    config = uvicorn.Config(application, log_level="error", ws="none", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
