"""`airlock runbook`: playbooks that are listed, checked, tried, run and exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli import runbook_files, runbook_run
from airlock.cli.containment import REFUSED, UNUSABLE, AsJson, ConfigFile, Containing, Token

app = typer.Typer(
    help="Playbooks: what to do in an incident, step by step or unattended.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the playbook.")]
RunId = Annotated[str, typer.Argument(help="Id of the run.")]
Unattended = Annotated[
    bool, typer.Option("--unattended", help="Let steps go by themselves where their class allows it.")
]
Wait = Annotated[
    float, typer.Option(help="Seconds to wait for the engine before an unattended run is left to itself.")
]


@app.callback()
def runbook() -> None:
    """Playbooks: what to do in an incident, step by step or unattended."""


@app.command("list")
def list_playbooks(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every playbook. Exit code 0: listed; 2: could not run."""
    asking = Containing("runbook", config, token)
    document = asking.ask("GET", "/api/v1/playbooks").document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(map(_line, document["playbooks"])))


def _line(found: dict[str, Any]) -> str:
    if found["problems"]:
        wrong = found["problems"][0]
        return f"{visible(found['id'])}  CANNOT BE USED: line {wrong['line']}: {visible(wrong['text'])}"
    state = "active" if found["active"] else "not active"
    drilled = found["last_proven"] or visible(found["last_drill"])
    title = f"{visible(found['id'])}  {found['severity_floor']}  {visible(found['title'])}"
    return f"{title}  ({found['steps']} steps, {state}, drilled {drilled})"


@app.command()
def show(name: Name, *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The text of a playbook. Exit code 0: shown; 1: there is none of this name; 2: could not run."""
    asking = Containing("runbook", config, token)
    document = asking.ask("GET", f"/api/v1/playbooks/{quote(name, safe='')}").document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(map(visible, document["playbook"]["text"].split("\n"))))


@app.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files to check; without any, every playbook that there is.")
    ] = None,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check playbooks: actions, variables, conditions, the way through the steps, commands of this program.

    What a person should look at some day (a review or a drill that is due) is told and is no failure.
    Exit code 0: nothing is wrong; 1: something is, and its line is named; 2: could not run.
    """
    runbook_files.lint(files or [], config, as_json)


@app.command()
def run(
    name: Name,
    *,
    incident: Annotated[str, typer.Option("--incident", help="Incident that it is for.")] = "",
    unattended: Unattended = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do nothing; tell every step and who has to agree.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A variable, `NAME=VALUE`; may be repeated.")
    ] = None,
    wait: Wait = 60.0,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run a playbook. Step by step on a terminal, where each step asks; or unattended.

    Exit code 0: it succeeded, or was tried without effect; 1: it failed or was refused; 2: could not run;
    4: it waits for somebody, and `airlock runbook resume` goes on with it.
    """
    asking = Containing("runbook", config, token)
    order = {
        "incident": incident,
        "mode": "unattended" if unattended else "attended",
        "dry_run": dry_run,
        "variables": _variables(asking, settings or []),
    }
    document = asking.ask("POST", f"/api/v1/playbooks/{quote(name, safe='')}/runs", order).document
    if dry_run:
        runbook_run.show_dry_run(asking, document["dry_run"], as_json)
        return
    runbook_run.follow(asking, document["run"], attended=not unattended, wait=wait, as_json=as_json)


def _variables(asking: Containing, settings: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise asking.stop(f"--set {visible(text)}: write NAME=VALUE, each name once", UNUSABLE)
        found[name] = value
    return found


@app.command()
def runs(
    *,
    incident: Annotated[str, typer.Option("--incident", help="Only those for this incident.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Runs of playbooks, the newest first. Exit code 0: listed; 2: could not run."""
    asking = Containing("runbook", config, token)
    path = f"/api/v1/playbooks/*/runs?incident={quote(incident, safe='')}"
    document = asking.ask("GET", path).document
    if as_json:
        asking.print_json(document)
        return
    for found in document["runs"]:
        words = (found["id"], found["playbook"], found["state"], found["incident"], found["started_at"])
        typer.echo("  ".join(visible(word) for word in words if word))


@app.command()
def resume(
    run: RunId,
    *,
    unattended: Unattended = False,
    wait: Wait = 60.0,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run: ask for each step that waits, or with --unattended only tell how it stands.

    Exit codes as `airlock runbook run`.
    """
    asking = Containing("runbook", config, token)
    document = asking.ask("GET", f"/api/v1/runs/{quote(run, safe='')}").document
    runbook_run.follow(asking, document["run"], attended=not unattended, wait=wait, as_json=as_json)


@app.command()
def answer(
    run: RunId,
    step: Annotated[str, typer.Argument(help="Id of the step.")],
    decision: Annotated[
        str,
        typer.Argument(
            help="`go` lets a call be made; `done`, `failed` say what came of a manual step; `skip`; `retry` "
            "what nobody knows the result of."
        ),
    ],
    *,
    output: Annotated[
        Path | None, typer.Option(help="File with what was seen; `-` for standard input. It is hashed.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer for one step of a run. Exit code 0: taken; 1: refused; 2: could not run."""
    asking = Containing("runbook", config, token)
    text = runbook_run.read_output(asking, output)
    after = runbook_run.send(asking, run, step, decision, output=text, reason=reason)
    if as_json:
        asking.print_json({"run": after})
    else:
        typer.echo(runbook_run.standing(after))


@app.command()
def cancel(
    run: RunId,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """End a run; what its steps did stays. Exit code 0: ended; 1: refused; 2: could not run."""
    asking = Containing("runbook", config, token)
    order = {"command": "cancel", "reason": reason}
    document = asking.ask("POST", f"/api/v1/runs/{quote(run, safe='')}", order).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo(runbook_run.standing(document["run"]))


@app.command()
def rollback(
    run: RunId,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Release every lease that a run gave. What is for good is told and stays.

    Exit code 0: released; 1: refused, or something of it is for good; 2: could not run.
    """
    asking = Containing("runbook", config, token)
    path = f"/api/v1/runs/{quote(run, safe='')}/rollback"
    document = asking.ask("POST", path, {"reason": reason}).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo(f"released: {', '.join(map(visible, document['released'])) or 'nothing'}")
    if document["irreversible"]:
        raise asking.stop(
            f"for good, and still in force: {', '.join(map(visible, document['irreversible']))}", REFUSED
        )


@app.command("export-cacao")
def export_cacao(name: Name, *, config: ConfigFile = None) -> None:
    """Print a playbook as CACAO 2.0. Exit code 0: printed; 1: there is no such playbook; 2: could not run."""
    runbook_files.export_cacao(name, config)


@app.command("import-cacao")
def import_cacao(
    file: Annotated[Path, typer.Argument(help="CACAO 2.0 playbook, JSON.")],
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a CACAO 2.0 playbook over, not active: read it, then set `active: true` in its file.

    Commands of other kinds become manual steps. Exit code 0: taken over; 1: it is no playbook that can be
    used, or its name is taken; 2: could not run.
    """
    runbook_files.import_cacao(file, config, as_json)
