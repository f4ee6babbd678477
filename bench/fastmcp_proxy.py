"""FastMCP as a proxy with one open session to its server: what its documentation has for the best rate.

Run by the Python in which FastMCP is installed: URL of the server, port.
"""

from __future__ import annotations

import asyncio
import sys

from fastmcp import Client  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from fastmcp.server import create_proxy  # pyright: ignore[reportMissingImports, reportUnknownVariableType]


async def main(url: str, port: int) -> None:
    """Serve until killed."""
    async with Client(url) as client:  # pyright: ignore[reportUnknownVariableType]
        proxy = create_proxy(client)  # pyright: ignore[reportUnknownVariableType]
        await proxy.run_async(  # pyright: ignore[reportUnknownMemberType]
            transport="http",
            host="127.0.0.1",
            port=port,
            json_response=True,
            show_banner=False,
            log_level="error",
        )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
