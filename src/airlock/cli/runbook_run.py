"""A run of a playbook as its operator sees it: step by step on a terminal, or followed as far as it goes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import REFUSED, UNUSABLE, WAITS, Containing

POLL = 0.25
"""Seconds between two looks at a run."""

LONGEST = 60_000
"""Characters of an output that is sent."""

ENDED = ("succeeded", "failed", "cancelled", "rolled_back")

END_OF_OUTPUT = "."

_CALL = "[g]o, [s]kip, [q]uit? "
_MANUAL = "[d]one, [f]ailed, [s]kip, [q]uit? "
_UNKNOWN = "nobody knows what came of it: [d]one, [f]ailed, [r]etry, [s]kip, [q]uit? "
_WORDS = {"g": "go", "s": "skip", "d": "done", "f": "failed", "r": "retry"}


def follow(asking: Containing, run: dict[str, Any], *, attended: bool, wait: float, as_json: bool) -> None:
    """Stay with a run until it is over or waits for somebody else. Ends the program by how it stands."""
    if not as_json:
        typer.echo(f"run {visible(run['id'])} of {visible(run['playbook'])}: {visible(run['title'])}")
    told: set[str] = set()
    while True:
        run = _settled(asking, run, wait=wait, told=told, silent=as_json)
        if not attended or run["state"] != "waiting" or not _ask(asking, run):
            break
        run = _read(asking, run["id"])
    if as_json:
        asking.print_json({"run": run})
    _end(asking, run)


def _settled(
    asking: Containing, run: dict[str, Any], *, wait: float, told: set[str], silent: bool
) -> dict[str, Any]:
    """The run once the engine has nothing to do, or `wait` seconds are over; steps that are over are told."""
    end = time.monotonic() + wait
    while True:
        for step in run["steps"]:
            if step["state"] in ("succeeded", "failed", "skipped") and step["step"] not in told:
                told.add(step["step"])
                if not silent:
                    typer.echo(_over(step))
        if run["state"] != "running" or time.monotonic() >= end:
            return run
        time.sleep(POLL)
        run = _read(asking, run["id"])


def _over(step: dict[str, Any]) -> str:
    said = step["detail"] if step["state"] != "succeeded" else step["output"]
    first = visible(said.split("\n")[0], 200) if said else ""
    return f"  {visible(step['step'])}: {step['state']}{f': {first}' if first else ''}"


def _ask(asking: Containing, run: dict[str, Any]) -> bool:
    """Ask for the step that waits, and send the answer; False: somebody has to come back to it."""
    step = next(each for each in run["steps"] if each["step"] == run["current"])
    typer.echo("\n".join(_waiting(run, step)))
    prompt = _UNKNOWN if step["state"] == "unknown" else _MANUAL if step["manual"] else _CALL
    word = _line(prompt)
    if word is None or word.startswith("q"):
        return False
    decision = _WORDS.get(word[:1], "")
    if f"[{word[:1]}]" not in prompt:
        typer.echo("that is none of them")
        return True
    output = _pasted() if step["manual"] and decision in ("done", "failed") else ""
    reason = "" if decision in ("go", "done") else _line("why? ") or ""
    send(asking, run["id"], step["step"], decision, output=output, reason=reason)
    return True


def _waiting(run: dict[str, Any], step: dict[str, Any]) -> list[str]:
    lines = ["", f"{visible(step['step'])}  {visible(step['title'])}"]
    lines += [f"    {visible(line)}" for line in step["what"].split("\n")]
    if step["manual"] and run["variables"]:
        known = ", ".join(f"{name}={visible(value, 80)}" for name, value in sorted(run["variables"].items()))
        lines.append(f"    known: {known}")
    if not step["manual"]:
        by = ", ".join(visible(given["by"]) for given in step["approvals"]) or "nobody yet"
        lines.append(f"    class {step['needs']}; needs {step['people']} to agree; agreed: {by}")
    if step["detail"]:
        lines.append(f"    {visible(step['detail'])}")
    return lines


def _line(prompt: str) -> str | None:
    """One line of an answer; None: there is no more input."""
    typer.echo(prompt, nl=False)
    text = sys.stdin.readline()
    return text.strip().lower() if text and prompt != "why? " else text.strip() if text else None


def _pasted() -> str:
    """What a person saw, until a line that holds a full stop alone."""
    typer.echo(f"paste what you saw; a line with {END_OF_OUTPUT} alone ends it")
    lines: list[str] = []
    while (text := sys.stdin.readline()) and text.rstrip("\n") != END_OF_OUTPUT:
        lines.append(text)
    return "".join(lines)[:LONGEST]


def read_output(asking: Containing, path: Path | None) -> str:
    """The file that holds an output. Ends the program where it cannot be read."""
    if path is None:
        return ""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise asking.stop(f"{visible(path)} cannot be read: {wrong}", UNUSABLE) from wrong
    return text[:LONGEST]


def send(
    asking: Containing, run: str, step: str, decision: str, *, output: str, reason: str
) -> dict[str, Any]:
    """Answer for a step; the run after it. A refusal ends the program."""
    path = f"/api/v1/runs/{quote(run, safe='')}/steps/{quote(step, safe='')}"
    order = {"decision": decision, "output": output, "reason": reason}
    after: dict[str, Any] = asking.ask("POST", path, order).document["run"]
    return after


def _read(asking: Containing, run: str) -> dict[str, Any]:
    found: dict[str, Any] = asking.ask("GET", f"/api/v1/runs/{quote(run, safe='')}").document["run"]
    return found


def standing(run: dict[str, Any]) -> str:
    """How a run stands, for people."""
    at = f" at {visible(run['current'])}" if run["state"] not in ENDED else ""
    return f"run {visible(run['id'])} is {run['state'].replace('_', ' ')}{at}"


def _end(asking: Containing, run: dict[str, Any]) -> None:
    if run["state"] == "succeeded":
        typer.echo(standing(run), err=True)
        return
    if run["state"] in ENDED:
        raise asking.stop(standing(run), REFUSED)
    raise asking.stop(f"{standing(run)}: airlock runbook resume {visible(run['id'])}", WAITS)


def show_dry_run(asking: Containing, told: dict[str, Any], as_json: bool) -> None:
    """Every step of a dry run. Ends the program with 1 where the playbook could not be run so."""
    if as_json:
        asking.print_json(told)
    else:
        for step in told["steps"]:
            typer.echo("\n".join(_rehearsed(step)))
    unfit = [f"{visible(step['step'])}: {visible(step['unfit'])}" for step in told["steps"] if step["unfit"]]
    missing = [f"the variable {visible(name)} is missing" for name in told["missing"]]
    if unfit or missing:
        raise asking.stop("; ".join([*missing, *unfit]), REFUSED)


def _rehearsed(step: dict[str, Any]) -> list[str]:
    lines = [f"{visible(step['step'])}  {visible(step['title'])}"]
    lines += [f"    {visible(line)}" for line in step["what"].split("\n")]
    if step["when"]:
        lines.append(f"    when {visible(step['when'])}")
    if not step["manual"]:
        why = f" ({visible('; '.join(step['why']))})" if step["why"] else ""
        lines.append(f"    class {step['needs']}{why}, {step['effect']}; needs {step['people']} to agree")
    lines.append(f"    then {visible(step['on_success'])}; if it fails, {visible(step['on_failure'])}")
    return lines
