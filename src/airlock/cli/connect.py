"""`airlock connect URL`: the gateway for clients that only start programs and speak to them over stdio.

Standard output is the protocol; whatever a person should read goes to standard error. The token comes from a
file, which is read again with every request so that it can be replaced, or from a variable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from airlock.core.coherence import is_loopback
from airlock.core.settings import environment

UNUSABLE = 2


def connect(
    url: Annotated[str, typer.Argument(help="Address of the gateway, such as http://localhost:8080/mcp.")],
    *,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token; read again with every request.")
    ] = None,
    token: Annotated[
        str, typer.Option(help="The token itself. Others on this machine can see it: better use a file.")
    ] = "",
    ca_file: Annotated[Path | None, typer.Option(help="PEM of the authorities to trust for https.")] = None,
    unsafe_plain_http: Annotated[
        bool, typer.Option(help="Send the token over plain http to another machine.")
    ] = False,
) -> None:
    """Speak MCP over standard input and output with a gateway. The token: --token-file, or AIRLOCK_TOKEN.

    Exit code 2: wrong usage; requests that fail are answered, they end nothing.
    """
    from airlock.cli.link import Link, lines, write
    from airlock.cli.shim import Shim
    from airlock.upstream.guard import endpoint

    try:
        gateway = endpoint(url)
    except ValueError as error:
        raise _stop(str(error)) from error
    origin = gateway.origin
    if origin.scheme == "http" and not is_loopback(origin.host) and not unsafe_plain_http:
        raise _stop("plain http to another machine shows the token to the network: use https")
    read = _token(token, token_file)

    async def serve() -> None:
        link = Link(gateway, read, ca_file)
        try:
            await Shim(post=link.post, end_session=link.end_session, write=write).run(lines())
        finally:
            link.close()

    try:
        asyncio.run(serve())
    except (OSError, ValueError) as error:
        raise _stop(str(error)) from error


def _token(token: str, file: Path | None) -> Callable[[], str]:
    """How the token is read; it fails now where it cannot be read now."""
    if file is not None:
        try:
            file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise _stop(f"the token cannot be read: {error}") from error
        return lambda: file.read_text(encoding="ascii").strip()
    given = token or environment().get("AIRLOCK_TOKEN", "")
    if not given:
        raise _stop("no token: give --token-file, or set AIRLOCK_TOKEN")
    return lambda: given


def _stop(why: str) -> typer.Exit:
    typer.echo(f"airlock connect: {why}", err=True)
    return typer.Exit(UNUSABLE)
