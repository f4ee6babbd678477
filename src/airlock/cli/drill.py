"""`airlock drill`: rules and playbooks tried in a shadow of the gateway, and when each was last proven."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, UNPROVEN, UNUSABLE, AsJson, ConfigFile, Containing, Token

app = typer.Typer(help="Drills: attacks played in a shadow of the gateway.", no_args_is_help=True)

PATH = "/api/v1/drills"

LOOK_EVERY = 0.5


@app.callback()
def drill() -> None:
    """Drills: attacks played in a shadow of the gateway."""


@app.command("list")
def list_drills(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every rule and playbook: when it was last proven, in what times, and what is untested for too long.

    Exit code 0: listed; 1: refused; 2: could not run.
    """
    asking = Containing("drill", config, token)
    document = asking.ask("GET", PATH).document
    if as_json:
        asking.print_json(document)
    else:
        typer.echo("\n".join(map(line, document["drills"])))


@app.command()
def run(
    subjects: Annotated[
        list[str] | None, typer.Argument(help="Ids of rules and playbooks, such as MCP-002 token-theft.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every rule and every playbook.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the results.")] = 300.0,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Drill rules and playbooks: detect, declare, contain, expire, bundle, verify, in a shadow.

    Exit code 0: each passed, or nothing of it can be drilled here; 1: one failed, or was refused; 2: could
    not run; 3: not every one is over in time.
    """
    asking = Containing("drill", config, token)
    if every == bool(subjects):
        raise asking.stop("name rules and playbooks, or give --all", UNUSABLE)
    asked = asking.ask("POST", PATH, {"subjects": ["*"] if every else subjects}).document["drills"]
    over = _over(asking, {each["subject"]: each["id"] for each in asked}, wait)
    if as_json:
        asking.print_json({"drills": [each["last"] for each in over]})
    else:
        typer.echo("\n".join(map(result, over)))
    if len(over) < len(asked):
        raise asking.stop(f"{len(asked) - len(over)} of {len(asked)} drills are not over", UNPROVEN)
    failed = [each["id"] for each in over if each["last"]["state"] == "failed"]
    if failed:
        raise asking.stop(f"failed: {', '.join(map(visible, failed))}", REFUSED)


def line(found: Mapping[str, Any]) -> str:
    """A rule or playbook in one line."""
    words = [visible(found["id"]), found["kind"], f"proven {found['last_proven'] or 'never'}"]
    last = found["last"]
    if last is not None:
        words += [last["state"], *_times(last)]
    words += ["waiting"] if found["waiting"] else []
    words += [f"WARNING: {found['warning']}"] if found["warning"] else []
    return "  ".join(words)


def result(found: Mapping[str, Any]) -> str:
    """What came of a drill: a line, and one for each of its steps that was not done."""
    last = found["last"]
    lines = [
        "  ".join([visible(found["id"]), last["state"], *_times(last), visible(last["problem"])]).rstrip()
    ]
    lines += [
        f"  {visible(step['name'])}: {step['result']}: {visible(step['detail'])}"
        for step in last["steps"]
        if step["result"] != "done"
    ]
    return "\n".join(lines)


def _times(last: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {last[name]:.3g} s" for name in ("detect", "contain", "evidence") if last[name] is not None
    ]


def _over(asking: Containing, asked: Mapping[str, str], wait: float) -> list[dict[str, Any]]:
    """The lines of what was asked for and is over, in the order of the list."""
    deadline = time.monotonic() + wait
    while True:
        found = asking.ask("GET", PATH).document["drills"]
        over = [
            each for each in found if each["last"] is not None and asked.get(each["id"]) == each["last"]["id"]
        ]
        if len(over) == len(asked) or time.monotonic() >= deadline:
            return over
        time.sleep(LOOK_EVERY)
