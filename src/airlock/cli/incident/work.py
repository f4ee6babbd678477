"""`airlock incident assign`, `renounce`, `task` and `own`: who does what."""

from __future__ import annotations

from typing import Annotated

import typer

from airlock.cli.containment import AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, state
from airlock.cli.incident.steps import Given

Role = Annotated[str, typer.Argument(help="Such as `incident_commander` or `scribe`.")]


def assign(
    id: Given,
    role: Role,
    person: Annotated[str, typer.Argument(help="Who. Default: whoever asks.")] = "",
    *,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give somebody a role. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, "roles", {"role": role, "person": person}, as_json, state)


def renounce(
    id: Given,
    role: Role,
    *,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a role back. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, f"roles/{role}/renounce", {}, as_json, state)


def task(
    id: Given,
    key: Annotated[str, typer.Argument(help="Key of the task.")],
    *,
    add: Annotated[str, typer.Option(help="Add it, with this text.")] = "",
    due: Annotated[str, typer.Option(help="Until when, `2026-11-28T21:07:00Z`.")] = "",
    note: Annotated[str, typer.Option(help="What was done, or the answer.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say that a task is done, or add one. Exit code 0: done; 1: refused; 2: could not run."""
    asking = Asking(config, token)
    if add:
        asking.change(id, "tasks", {"key": key, "text": add, "due_at": due}, as_json, state)
    else:
        asking.change(id, f"tasks/{key}/done", {"note": note}, as_json, state)


def own(
    id: Given,
    lease: Annotated[str, typer.Argument(help="Id of the lease.")],
    person: Annotated[str, typer.Argument(help="Who answers for it from here on.")],
    *,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hand a lease over to a person. Exit code 0: done; 1: refused; 2: could not run."""
    Asking(config, token).change(id, "owners", {"lease": lease, "person": person}, as_json, state)
