"""`airlock token`: demo tokens of the local issuer. Only the token goes to standard output, to be piped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airlock.core import units
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import ConfigError

REFUSED = 1
UNUSABLE = 2

app = typer.Typer(help="Demo tokens of the local issuer.", no_args_is_help=True)


@app.callback()
def token() -> None:
    """Demo tokens of the local issuer, for a gateway that listens on loopback."""


@app.command()
def issue(
    *,
    subject: Annotated[str, typer.Option(help="Who the token speaks for.")],
    tenant: Annotated[str, typer.Option(help="Tenant of the subject.")],
    role: Annotated[list[str] | None, typer.Option(help="Role; may be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group; may be repeated.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Scope; may be repeated. Default: mcp.list and mcp.call.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it lasts, `30s 5m 1h`; 24h at most.")] = "1h",
    audience: Annotated[str, typer.Option(help="Resource it is for. Default: the gateway's /mcp.")] = "",
    signed_in: Annotated[
        bool,
        typer.Option("--signed-in", help="Say that the subject signed in just now; loosening asks for it."),
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Configuration file of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the token and what it says.")] = False,
) -> None:
    """Print a signed token. Exit code 1: this gateway has no local issuer; 2: it cannot be made."""
    from airlock.identity.local import LocalIssuer, require_loopback
    from airlock.identity.scopes import SUPPORTED

    settings = _load(config)
    try:
        require_loopback(settings)
        issuer = LocalIssuer.open(Path(settings.data_dir), settings.server.public_url)
    except ConfigError as refused:
        raise _stop(refused, REFUSED) from refused
    try:
        text = issuer.issue(
            subject=subject,
            tenant=tenant,
            roles=tuple(role or ()),
            groups=tuple(group or ()),
            scopes=tuple(scope or SUPPORTED),
            ttl=units.duration(ttl),
            audience=audience,
            signed_in=signed_in,
            now=SYSTEM.wall(),
        )
    except ValueError as wrong:
        raise _stop(wrong, UNUSABLE) from wrong
    typer.echo(f"{subject} of {tenant}, for {ttl}", err=True)
    typer.echo(_described(text, subject, tenant) if as_json else text)


def _load(path: Path | None) -> Config:
    from airlock.core.settings import environment, load

    try:
        return load(path, environment()).config
    except ConfigError as wrong:
        raise _stop(wrong, UNUSABLE) from wrong


def _described(text: str, subject: str, tenant: str) -> str:
    from airlock.identity.jws import take_apart

    payload = take_apart(text).payload
    answer = {
        "token": text,
        "subject": subject,
        "tenant": tenant,
        "issuer": payload["iss"],
        "audience": payload["aud"],
        "token_id": payload["jti"],
        "expires_at": payload["exp"],
    }
    return msgspec.json.encode(answer).decode()


def _stop(why: Exception, code: int) -> typer.Exit:
    typer.echo(f"airlock token: {why}", err=True)
    return typer.Exit(code)
