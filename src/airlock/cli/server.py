"""`airlock server`: the configured servers, what is pinned of their tools, and approving what changed.

Reads and writes the control data beside the gateway: a running one takes an approval up within a second and
records it. Texts of servers are shown with everything that does not print made visible.
"""

from __future__ import annotations

import getpass
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.server_service import isolate, restore
from airlock.core.clock import SYSTEM
from airlock.core.config import Config, ServerEntry
from airlock.core.errors import ConfigError, Fault
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from airlock.store.database import Store
    from airlock.store.pins import Definition, PinChange

REFUSED = 1
UNUSABLE = 2

DIGEST_LEAST = 12
"""Digits of a digest that are enough to name a definition."""

NAME_MOST = 200
"""Characters of an approver's name."""

app = typer.Typer(help="The servers behind the gateway, and their pinned tools.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a configured server.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file of the gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One configured server, in numbers."""

    name: str
    transport: str
    isolation: str
    """Processes of a stdio server: `shared`, or one for each `principal` or `session`; empty over HTTP."""
    tenant: str
    sensitivity: str
    pinned: int
    waiting: int
    """Changed definitions that nobody decided on."""


@app.callback()
def server() -> None:
    """The servers behind the gateway, and their pinned tools."""


@app.command("list")
def list_servers(*, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every configured server, with its pinned tools and the changed definitions that wait.

    Exit code 0: listed; 2: could not run.
    """
    from airlock.cli import server_text

    settings = _load(config)
    rows: list[Row] = []
    with _stored(settings) as store:
        for entry in settings.servers:
            tools = _pins(store, entry)
            rows.append(
                Row(
                    name=entry.name,
                    transport=entry.transport,
                    isolation=entry.isolation if entry.transport == "stdio" else "",
                    tenant=entry.tenant,
                    sensitivity=entry.sensitivity,
                    pinned=sum(tool.pinned is not None for tool in tools),
                    waiting=sum(len(tool.waiting) for tool in tools),
                )
            )
    if as_json:
        typer.echo(harmless(msgspec.json.encode({"servers": rows})))
    else:
        server_text.show_list(rows)


@app.command()
def show(name: Name, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The definitions of a server's tools: which is pinned, which waits, and what differs.

    Exit code 0: shown; 2: could not run, or no such server.
    """
    from airlock.cli import server_text

    settings = _load(config)
    entry = _entry(settings, name)
    with _stored(settings) as store:
        tools = _pins(store, entry)
    if as_json:
        shown = {"server": entry.name, "tenant": entry.tenant, "tools": tools}
        typer.echo(harmless(msgspec.json.encode(shown)))
    else:
        server_text.show_tools(entry, tools)


@app.command()
def approve(
    name: Name,
    tool: Annotated[str, typer.Argument(help="Name of the tool, or `prompt:NAME`, `template:URI_TEMPLATE`.")],
    *,
    digest: Annotated[
        str, typer.Option(help=f"Which waiting definition, by {DIGEST_LEAST} digits or more of its digest.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who approves. Default: the name of the local user.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Pin a changed definition: from then on it may be called, and no other.

    Exit code 0: approved; 1: nothing that waits is meant, or more than one; 2: could not run.
    """
    from airlock.store import pins

    settings = _load(config)
    entry = _entry(settings, name)
    who = _approver(by)
    with _stored(settings) as store:
        if store is None:
            raise _stop("no gateway has run on this data directory yet", REFUSED)
        try:
            chosen = _chosen(_waiting(_pins(store, entry), tool), digest)
        except LookupError as none:
            raise _stop(f"{name}/{visible(tool)}: {none}", REFUSED) from none
        pins.approve(
            store,
            server=entry.name,
            tenant=entry.tenant,
            tool=tool,
            digest=chosen.digest,
            by=who,
            now=SYSTEM.wall(),
        )
    if as_json:
        answer = {"server": entry.name, "tool": tool, "digest": chosen.digest, "approved_by": who}
        typer.echo(harmless(msgspec.json.encode(answer)))
    else:
        typer.echo(f"{name}/{visible(tool)}: {chosen.digest} is pinned, approved by {who}")


app.command()(isolate)
app.command()(restore)


def _chosen(waiting: tuple[Definition, ...], digest: str) -> Definition:
    """The one definition that is meant. Raises `LookupError` that says why there is none."""
    if not waiting:
        raise LookupError("no changed definition waits for approval")
    if digest and len(digest) < DIGEST_LEAST:
        raise LookupError(f"--digest needs at least {DIGEST_LEAST} digits")
    meant = [found for found in waiting if found.digest.startswith(digest.lower())]
    if not meant:
        raise LookupError(f"no waiting definition has the digest {visible(digest)}")
    if len(meant) > 1:
        raise LookupError(f"{len(meant)} definitions wait: name one with --digest, `show` has them")
    return meant[0]


def _waiting(tools: list[PinChange], name: str) -> tuple[Definition, ...]:
    return next((tool.waiting for tool in tools if tool.tool == name), ())


def _pins(store: Store | None, entry: ServerEntry) -> list[PinChange]:
    from airlock.store import pins

    return [] if store is None else pins.list_pins(store, server=entry.name, tenant=entry.tenant)


@contextmanager
def _stored(settings: Config) -> Generator[Store | None]:
    """The control data; None where no gateway ever ran, because looking must not create it."""
    from airlock.store.database import FILE, open_store

    path = Path(settings.data_dir) / FILE
    if not path.exists():
        yield None
        return
    try:
        store = open_store(path)
        try:
            yield store
        finally:
            store.close()
    except Fault as failed:
        raise _stop(failed.detail or failed.text) from failed


def _entry(settings: Config, name: str) -> ServerEntry:
    found = next((entry for entry in settings.servers if entry.name == name), None)
    if found is None:
        names = ", ".join(entry.name for entry in settings.servers) or "none"
        raise _stop(f"no server is called {name}; configured: {names}")
    return found


def _load(path: Path | None) -> Config:
    from airlock.core.settings import environment, load

    try:
        return load(path, environment()).config
    except ConfigError as wrong:
        raise _stop(str(wrong)) from wrong


def _approver(by: str) -> str:
    """Who is written down. A name that cannot be read back proves nothing."""
    try:
        who = by or getpass.getuser()
    except (KeyError, OSError) as unknown:
        raise _stop("this user has no name: say who approves with --by") from unknown
    if not who.isprintable() or len(who) > NAME_MOST:
        raise _stop(f"--by takes at most {NAME_MOST} printable characters")
    return who


def _stop(why: str, code: int = UNUSABLE) -> typer.Exit:
    typer.echo(f"airlock server: {why}", err=True)
    return typer.Exit(code)
