"""Playbooks as files: checked, printed as CACAO 2.0, taken over from it. No gateway is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless

if TYPE_CHECKING:
    from airlock.incident.playbooks.library import Shelved
    from airlock.incident.playbooks.problem import Problem

REFUSED, UNUSABLE = 1, 2


def lint(files: Sequence[Path], config: Path | None, as_json: bool) -> None:
    """See `airlock runbook lint`."""
    from datetime import date

    from typer.main import get_command

    from airlock.cli import program
    from airlock.core.clock import SYSTEM, rfc3339
    from airlock.incident.playbooks import library
    from airlock.incident.playbooks import lint as checks

    found = [library.read(path) for path in files] or list(library.shelves(_folder(config)).values())
    command = get_command(program())
    wrong = {each.id: checks.wrong(each, lambda words: known(command, words)) for each in found}
    stale = {
        each.id: checks.stale(each.compiled.plan, date.fromisoformat(rfc3339(SYSTEM.wall())[:10]))
        for each in found
        if each.compiled is not None
    }
    if as_json:
        typer.echo(harmless(msgspec.json.encode({"problems": wrong, "stale": stale})))
    else:
        _tell(found, wrong, stale)
    if any(wrong.values()):
        raise typer.Exit(REFUSED)


def _tell(found: Sequence[Shelved], wrong: dict[str, list[Problem]], stale: dict[str, list[str]]) -> None:
    for each in found:
        for problem in wrong[each.id]:
            typer.echo(f"{visible(each.id)}.md:{problem.line}: {visible(problem.text)}")
        for text in stale.get(each.id, []):
            typer.echo(f"{visible(each.id)}.md: note: {visible(text)}")
    count = sum(map(len, wrong.values()))
    typer.echo(f"{len(found)} playbooks, {count} problems")


def known(command: object, words: Sequence[str]) -> str:
    """What is wrong with these words behind `airlock`; empty: nothing. `command`: of the whole program."""
    from typer.core import TyperGroup

    rest = list(words)
    path: list[str] = []
    while isinstance(command, TyperGroup) and rest:
        word = rest.pop(0)
        if word not in command.commands:
            return f"there is no command {' '.join([*path, word])}"
        command = command.commands[word]
        path.append(word)
    if isinstance(command, TyperGroup):
        return "a command is missing"
    options = {"--help", *_options(command)}
    wrong = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
    return f"{' '.join(path)} has no option {wrong[0]}" if wrong else ""


def _options(command: object) -> set[str]:
    from typer.core import TyperCommand

    params = command.params if isinstance(command, TyperCommand) else []
    return {text for param in params for text in (*param.opts, *param.secondary_opts)}


def export_cacao(name: str, config: Path | None) -> None:
    """See `airlock runbook export-cacao`."""
    from airlock.incident.playbooks import cacao, library
    from airlock.model.lease import Unfit

    try:
        plan = library.find(_folder(config), name).plan
    except Unfit as unfit:
        raise _stop(unfit.text, REFUSED) from unfit
    document = msgspec.json.format(harmless(msgspec.json.encode(cacao.export(plan))), indent=2)
    typer.echo(document.decode())


def import_cacao(file: Path, config: Path | None, as_json: bool) -> None:
    """See `airlock runbook import-cacao`."""
    from airlock.incident.playbooks import cacao_import
    from airlock.incident.playbooks.problem import PlaybookError

    folder = _folder(config)
    try:
        with file.open("rb") as source:
            document = source.read(cacao_import.LARGEST + 1)
        text, compiled = cacao_import.read(document)
        target = folder / f"{compiled.plan.id}.md"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as made:
            made.write(text)
    except PlaybookError as wrong:
        told = "\n".join(f"line {each.line}: {visible(each.text)}" for each in wrong.problems)
        raise _stop(f"it cannot be used\n{told}", REFUSED) from wrong
    except FileExistsError as taken:
        raise _stop(
            f"{visible(taken.filename)} is there already: rename it or take it away", REFUSED
        ) from taken
    except OSError as failed:
        raise _stop(visible(failed), UNUSABLE) from failed
    _taken_over(compiled.plan.id, target, as_json)


def _taken_over(id: str, target: Path, as_json: bool) -> None:
    told: dict[str, Any] = {"playbook": id, "file": str(target), "active": False}
    if as_json:
        typer.echo(harmless(msgspec.json.encode(told)))
    else:
        typer.echo(f"{visible(target)}: read it, then set `active: true`")


def _folder(config: Path | None) -> Path:
    from airlock.core.settings import environment, load
    from airlock.incident.playbooks.library import FOLDER

    try:
        return Path(load(config, environment()).config.data_dir) / FOLDER
    except ConfigError as wrong:
        raise _stop(str(wrong), UNUSABLE) from wrong


def _stop(why: str, code: int) -> typer.Exit:
    typer.echo(f"airlock runbook: {why}", err=True)
    return typer.Exit(code)
