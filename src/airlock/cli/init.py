"""`airlock init --from FILE`: from the servers of MCP clients to a gateway that only watches at first.

1. read every file; 2. take over each server, or say why not; 3. write the configuration and the secrets into
a draft beside the target; 4. load the draft as `serve` would; 5. move it into place in one step.
Nothing that exists is changed, and a directory that could not be completed is not left behind.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml

from airlock.audit.visible import visible
from airlock.cli import client_files, client_servers
from airlock.cli.client_files import Found, LeftOut
from airlock.cli.client_servers import Imported, Surroundings
from airlock.core.clock import SYSTEM, rfc3339
from airlock.core.coherence import OBSERVE_MOST
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load

REFUSED = 1
UNUSABLE = 2

CONFIG = "airlock.yaml"
LONGEST_NAME = 31
"""Characters of a server's name: it becomes part of the names of its tools."""

_HEAD = """\
# Written by `airlock init`. What policy would refuse is let through and recorded until `observe.until`;
# then, or once a server's `mode: observe` is taken out, policy decides. `airlock policy suggest` writes one.
"""


class Import(msgspec.Struct, kw_only=True):
    """What comes out of all files together."""

    servers: list[Imported]
    left_out: list[tuple[str, str]]
    """(name in the client, reason)."""
    notes: list[str]


def init(
    files: Annotated[
        list[Path],
        typer.Option("--from", help="A client's file with its MCP servers; may be repeated."),
    ],
    directory: Annotated[
        Path, typer.Option("--dir", help="Directory to make; it must be empty or missing.")
    ] = Path("airlock"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the gateway.")] = 8080,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a configuration in observe mode from the MCP servers of other clients.

    Exit code 1: written, but a server was left out; 2: nothing was written.
    """
    target = Path(os.path.abspath(directory))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise _stop(f"{target} is not empty: nothing is overwritten")
    around = Surroundings(environ=environment(), root=os.geteuid() == 0)
    try:
        done = take_over([client_files.read(path) for path in files], around)
        write(done, target, port=port)
    except (ConfigError, OSError) as error:
        raise _stop(str(error)) from error
    _print(done, target, port, as_json=as_json)
    raise typer.Exit(REFUSED if done.left_out else 0)


def take_over(files: list[client_files.ClientFile], around: Surroundings) -> Import:
    """Every server that can be taken over, under a name of its own."""
    done = Import(servers=[], left_out=[], notes=[note for file in files for note in file.notes])
    taken: dict[str, Found] = {}
    for found in (server for file in files for server in file.servers):
        twin = next((name for name, other in taken.items() if other.entry == found.entry), None)
        if twin is not None:
            done.notes.append(
                f"{found.name!r} of {found.where} is the same server as {twin}: taken over once"
            )
            continue
        name = free_name(found.name, taken)
        try:
            server = client_servers.imported(found, name, around)
        except LeftOut as reason:
            done.left_out.append((found.name, str(reason)))
            continue
        taken[name] = found
        done.servers.append(server)
        renamed = [f"{name}: was called {found.name!r}"] if name != found.name else []
        done.notes += renamed + [f"{name}: {note}" for note in server.notes]
    return done


def free_name(name: str, taken: dict[str, Found]) -> str:
    """A name as the configuration wants it, with a number where another server has it."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    base = (base if base[:1].isalpha() else f"s-{base}").strip("-")[: LONGEST_NAME - 4].rstrip("-")
    number = next(count for count in range(1, len(taken) + 2) if _numbered(base, count) not in taken)
    return _numbered(base, number)


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def write(done: Import, target: Path, *, port: int) -> None:
    """The directory, whole or not at all. Raises ConfigError or OSError."""
    if not done.servers:
        raise ConfigError(str(target), "no server could be taken over" + "".join(map(_reason, done.left_out)))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft-{os.getpid()}")
    draft.mkdir(mode=0o700)
    try:
        _private(draft / CONFIG, _HEAD + yaml.safe_dump(_config(done, port), sort_keys=False))
        for server in done.servers:
            for name, value in server.secrets.items():
                (draft / name).parent.mkdir(mode=0o700, exist_ok=True)
                _private(draft / name, value)
        _private(draft / ".gitignore", "secrets/\ndata/\ntoken\n")
        load(draft / CONFIG, {})
        os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _config(done: Import, port: int) -> dict[str, Any]:
    until = SYSTEM.wall() // 60 * 60 + OBSERVE_MOST - 60
    servers = [{**server.entry, "mode": "observe"} for server in done.servers]
    return {
        "data_dir": "data",
        "server": {"port": port},
        "observe": {"until": rfc3339(until)},
        "servers": servers,
    }


def _private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _print(done: Import, target: Path, port: int, *, as_json: bool) -> None:
    config = target / CONFIG
    if as_json:
        answer = {
            "config": str(config),
            "servers": [server.entry["name"] for server in done.servers],
            "left_out": [{"name": name, "reason": reason} for name, reason in done.left_out],
            "notes": done.notes,
        }
        typer.echo(harmless(msgspec.json.encode(answer)).decode())
        return
    url = f"http://localhost:{port}/mcp"
    lines = [f"changed: {note}" for note in done.notes]
    lines += [f"left out: {name}: {reason}" for name, reason in done.left_out]
    named = ", ".join(server.entry["name"] for server in done.servers)
    lines += [
        f"written: {config} with {named}; for seven days it only observes",
        "next:",
        f"  airlock serve --config {config}",
        f"  airlock token issue --config {config} --subject ME --tenant home --role developer --ttl 24h \\",
        f"    > {target}/token",
        f"  in the client, in place of these servers: airlock connect {url} --token-file {target}/token",
        f"  after a day of work: airlock policy suggest --config {config} --out {target}/policy",
    ]
    typer.echo("\n".join(map(visible, lines)))


def _reason(left_out: tuple[str, str]) -> str:
    return f"\n  {left_out[0]}: {left_out[1]}"


def _stop(why: str) -> typer.Exit:
    typer.echo("\n".join(visible(line) for line in f"airlock init: {why}".split("\n")), err=True)
    return typer.Exit(UNUSABLE)
