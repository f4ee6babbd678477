"""`airlock backup` and `airlock restore`: all that a gateway cannot make anew, into one file and out of it.

A backup is taken while the gateway serves, and holds nobody up. What it holds stands in it under the names of
the data directory; configuration and policy come back in a folder of their own, because only an operator
knows where they belong.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer

import airlock
from airlock.audit.visible import visible
from airlock.core import archive
from airlock.core.archive import BadArchive, Examined, Manifest, Packing
from airlock.core.clock import SYSTEM, rfc3339
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless
from airlock.core.settings import Loaded, environment, load

REFUSED, UNUSABLE = 1, 2

CONFIGURATION = f"{archive.FOLDER}/configuration"
POLICY = f"{archive.FOLDER}/policy"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `manifest_sha256` stands for the whole backup."""

    file: str
    manifest_sha256: str
    made_at: str
    files: int
    size: int
    """Bytes of all files together."""
    configuration: bool
    """Configuration and policy are in it."""
    chains: list[archive.End]
    needs: list[str]


def backup(
    *,
    out: Annotated[Path, typer.Option(help="File to write, mode 0600; one that exists is not replaced.")],
    config: Annotated[
        Path | None, typer.Option(help="Configuration; it and its policy are saved too.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data directory, in place of the configured one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save audit log, control data, keys, configuration and policy in one file, while the gateway serves.

    The file opens all that the gateway can open: guard it like the keys. Exit code 0: saved; 1: the audit
    journal is damaged; 2: could not run.
    """
    from airlock.audit.journal import JournalDamaged

    try:
        loaded = load(config, environment()) if config or data_dir is None else None
        data = data_dir or Path(cast("Loaded", loaded).config.data_dir)
        with (
            archive.packing(out) as pack,
            tempfile.TemporaryDirectory(prefix=".airlock-backup-", dir=out.absolute().parent) as scratch,
        ):
            saved = save(pack, data, config, loaded, scratch=Path(scratch))
    except JournalDamaged as damage:
        raise _stop("backup", f"the audit journal is damaged: {damage.detail}", REFUSED) from damage
    except (ConfigError, sqlite3.Error, OSError) as error:
        raise _stop("backup", str(error), UNUSABLE) from error
    _show(out, saved, "saved in", as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `airlock backup` made.")],
    *,
    data_dir: Annotated[Path, typer.Option(help="Directory to restore into: empty, or not there yet.")],
    as_json: AsJson = False,
) -> None:
    """Bring a data directory back from a backup. All of the file is checked before anything is written.

    The next start continues every audit chain in a new one that names it. Exit code 0: restored; 1: the
    file is not as it was written; 2: could not run, or the directory is not empty.
    """
    try:
        archive.refuse_occupied(data_dir)
        examined = archive.examine(file)
        archive.unpack(file, examined, data_dir)
    except BadArchive as bad:
        raise _stop("restore", str(bad), REFUSED) from bad
    except OSError as error:
        raise _stop("restore", str(error), UNUSABLE) from error
    _show(file, examined, f"restored into {data_dir} from", as_json=as_json)


def save(pack: Packing, data: Path, config: Path | None, loaded: Loaded | None, *, scratch: Path) -> Examined:
    """Everything of a data directory that is not made anew, and what the configuration file leads to."""
    from airlock.audit.cut import DATABASE, cut
    from airlock.store.copy import copy_file
    from airlock.store.database import FILE

    # 1. The audit log. Its keys and control data may be newer than it, never older.
    if not (data / DATABASE).exists():
        raise FileNotFoundError(f"{data} has no {DATABASE}: no gateway has served there")
    made_at = rfc3339(SYSTEM.wall())
    chains = cut(data, pack, scratch=scratch, made_at=made_at)
    # 2. Control data and keys.
    if (data / FILE).exists():
        copy_file(data / FILE, scratch / FILE)
        pack.add_file(FILE, scratch / FILE)
    for path in sorted((data / "keys").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            pack.add_file(path.relative_to(data).as_posix(), path)
    # 3. Configuration and policy.
    revision = _configuration(pack, config, loaded) if config and loaded else ""
    return pack.finish(
        Manifest(
            format=archive.FORMAT,
            version=airlock.__version__,
            made_at=made_at,
            configuration_digest=loaded.digest if config and loaded else "",
            policy_revision=revision,
            needs=_needs(loaded, data) if config and loaded else [],
            chains=chains,
            files=pack.files,
        )
    )


def _configuration(pack: Packing, config: Path, loaded: Loaded) -> str:
    """The file itself and the files of the policy that decides; the policy's revision."""
    from airlock.policy.bundle import load_bundle

    pack.add_file(f"{CONFIGURATION}/{config.name}", config)
    path = loaded.config.policy.path
    bundle = load_bundle(Path(path) if path else None)
    for name, text in bundle.files.items() if path else ():
        pack.add_bytes(f"{POLICY}/{name}", text)
    return bundle.revision


def _needs(loaded: Loaded, data: Path) -> list[str]:
    """What a gateway with this configuration reads besides: secrets, certificates, programs, variables."""
    paths = {text for text in _texts(msgspec.to_builtins(loaded.config)) if text.startswith("/")}
    files = {path for path in paths if os.path.isfile(path) and path != loaded.config.policy.path}
    outside = {path for path in files if not Path(path).is_relative_to(data.absolute())}
    named = {server.credential.env for server in loaded.config.servers if server.credential is not None}
    variables = {f"environment {name}" for name in named if name}
    variables |= {origin for origin in loaded.origins.values() if origin.startswith("environment ")}
    return sorted(outside) + sorted(variables)


def _texts(value: object) -> Iterator[str]:
    """Every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(tuple(cast("dict[str, object]", value).values()))
    elif isinstance(value, (list, tuple)):
        for each in cast("tuple[object, ...]", value):
            yield from _texts(each)


def _show(file: Path, examined: Examined, done: str, *, as_json: bool) -> None:
    manifest = examined.manifest
    report = Report(
        file=str(file),
        manifest_sha256=examined.digest,
        made_at=manifest.made_at,
        files=len(manifest.files),
        size=sum(each.size for each in manifest.files.values()),
        configuration=bool(manifest.configuration_digest),
        chains=manifest.chains,
        needs=manifest.needs,
    )
    if as_json:
        typer.echo(harmless(msgspec.json.encode(report)))
        return
    typer.echo(f"{report.files} files, {report.size} bytes, as of {report.made_at}: {done} {file}")
    typer.echo(f"SHA-256 of the manifest, to keep elsewhere: {report.manifest_sha256}")
    for chain in report.chains:
        typer.echo(f"audit chain {chain.chain_uid} up to record {chain.seq}")
    if not report.configuration:
        typer.echo("not in it: configuration and policy (backup --config saves them)")
    for need in report.needs:
        typer.echo(f"not in it, but named by the configuration: {visible(need)}")


def _stop(verb: str, why: str, code: int) -> typer.Exit:
    # Only what is wrong with a configuration takes several lines.
    shown = "\n".join(visible(line) for line in why.split("\n"))
    typer.echo(f"airlock {verb}: {shown}", err=True)
    return typer.Exit(code)
