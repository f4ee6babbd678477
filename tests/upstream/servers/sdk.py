"""A server on the official SDK over stdio: serves the modern era and the legacy one."""

import asyncio

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk-toy", version="7")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def wait(context: Context) -> str:
    """Report progress once, then wait for long."""
    await context.report_progress(1, 2, "waiting")
    await asyncio.sleep(3600)
    return "never"


server.run("stdio")
