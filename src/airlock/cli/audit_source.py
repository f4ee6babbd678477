"""Where `airlock audit` reads: a data directory with its journals, or a database file by itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError

UNUSABLE = 2

Db = Annotated[Path | None, typer.Option("--db", help="A database file by itself, such as a forensic copy.")]
DataDir = Annotated[Path | None, typer.Option(help="Directory of audit.db and journal/.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration that names the data directory.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str | None, typer.Option(help="Only from then on: `2h`, `30d` or `YYYY-MM-DD HH:MM`.")]
AllReplicas = Annotated[
    bool, typer.Option("--all-replicas", help="All processes of this data directory: always so.")
]


class Source(msgspec.Struct, frozen=True):
    """Which files to read. `journals` is None where only a database was given."""

    database: Path
    journals: Path | None
    unreached: list[str]
    """Why the database is behind the journals."""

    def tell(self) -> None:
        """Say on the error output what is not in the database yet."""
        for problem in self.unreached:
            typer.echo(f"airlock audit: {problem}", err=True)


def source(db: Path | None, data_dir: Path | None, config: Path | None) -> Source:
    """The files, with the database brought up to the journals."""
    from airlock.audit.catchup import catch_up

    if db is not None:
        return Source(db, None, [])
    directory = data_dir or configured(config)
    unreached = catch_up(directory, clock=SYSTEM, pause=time.sleep)
    return Source(directory / "audit.db", directory / "journal", unreached)


def configured(path: Path | None) -> Path:
    """The data directory that a configuration names."""
    from airlock.core.settings import environment, load

    try:
        return Path(load(path, environment()).config.data_dir)
    except ConfigError as wrong:
        raise stop(wrong) from wrong


def stop(why: Exception) -> typer.Exit:
    """Exit code 2, with the reason on the error output."""
    # Only what is wrong with a configuration takes several lines; SQLite's messages repeat a question's text.
    lines = str(why).split("\n") if isinstance(why, ConfigError) else [str(why)]
    shown = "\n".join(visible(line) for line in lines)
    typer.echo(f"airlock audit: {shown}", err=True)
    return typer.Exit(UNUSABLE)
