"""How verbs read an incident: from the files of the data directory, so also where no gateway runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.incident.asking import VARIABLE
from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError, Fault
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load

if TYPE_CHECKING:
    from airlock.app.record import Sources
    from airlock.incident.render.record import Record
    from airlock.model.health import Service

REFUSED = 1
UNUSABLE = 2

_Given = TypeVar("_Given")


class Reading:
    """One command. Every method ends the program with its exit code where there is no answer."""

    def __init__(self, verb: str, where: Sources, ask: Callable[[], Service]) -> None:
        self._verb = verb
        self.where = where
        self.service = ask
        """Asks the gateway how it stands."""

    def id(self, given: str) -> str:
        """The incident that is meant: the one named, that of the variable, or the only open one."""
        from airlock.store import incidents

        if named := given or environment().get(VARIABLE, ""):
            return named
        open_ones = [each.id for each in incidents.listing(self.where.store)]
        if len(open_ones) == 1:
            return open_ones[0]
        why = f"say which incident: {', '.join(open_ones)}" if open_ones else "no incident is open"
        raise self.stop(why, UNUSABLE)

    def record(self, id: str) -> Record:
        """All that is known of an incident."""
        from airlock.app.record import gather

        return self.fit(lambda: gather(self.where, id, service=self.service(), clock=SYSTEM))

    def fit(self, make: Callable[[], _Given]) -> _Given:
        """What `make` gives."""
        from airlock.model.lease import Unfit

        try:
            return make()
        except Unfit as unfit:
            raise self.stop(unfit.text, REFUSED) from unfit
        except (sqlite3.Error, OSError, Fault) as failed:
            raise self.stop(str(failed), UNUSABLE) from failed

    def print_json(self, value: object) -> None:
        """One JSON object that no terminal obeys."""
        typer.echo(harmless(msgspec.json.encode(value)))

    def stop(self, why: str, code: int) -> typer.Exit:
        """The end, with its reason on standard error."""
        return stop(self._verb, why, code)


@contextmanager
def reading(verb: str, config: Path | None) -> Generator[Reading]:
    """Open the files that a configuration names, with the database of the log brought up to its journals."""
    from airlock.app.outside import service
    from airlock.app.record import sources
    from airlock.audit.catchup import catch_up
    from airlock.store.database import FILE, open_store

    try:
        settings = load(config, environment()).config
        file = Path(settings.data_dir) / FILE
        store = open_store(file) if file.exists() else None
    except (ConfigError, Fault) as wrong:
        detail = wrong.detail if isinstance(wrong, Fault) else ""
        raise stop(verb, detail or str(wrong), UNUSABLE) from wrong
    if store is None:
        raise stop(verb, f"{file} does not exist: no gateway ever ran on this directory", UNUSABLE)
    try:
        for problem in catch_up(file.parent, clock=SYSTEM, pause=time.sleep):
            typer.echo(f"airlock {verb}: {visible(problem)}", err=True)
        yield Reading(verb, sources(settings, store), lambda: service(settings))
    finally:
        store.close()


def stop(verb: str, why: str, code: int) -> typer.Exit:
    """The end, with its reason on standard error."""
    typer.echo(f"airlock {verb}: {why}", err=True)
    return typer.Exit(code)
