"""`airlock incident counterfactuals`: what would have told earlier, and what it would have cost."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Document, path
from airlock.cli.incident.steps import Given

PATIENCE = 300.0
"""Seconds for an answer."""


def counterfactuals(
    id: Given,
    *,
    days: Annotated[
        float, typer.Option(help="Days before the detection in which the price of a rule is counted.")
    ] = 30.0,
    accept: Annotated[
        int, typer.Option(help="Make an action item of this line of the newest answer.", show_default=False)
    ] = 0,
    owner: Annotated[str, typer.Option(help="Who does it.")] = "",
    due: Annotated[str, typer.Option(help="Until when, `2026-12-24`.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Play the log again: to every rule, also with lower thresholds, and to the leases begun earlier.

    The answer stands on the timeline and in the review. Exit code 0: worked out; 1: there is no such incident
    or answer; 2: could not run.
    """
    asking = Asking(config, token)
    where = f"/api/v1/reviews/{quote(id, safe='')}/counterfactuals"
    if accept:
        order = _accepted(asking, asking.ask("GET", where).document, accept)
        order |= {name: value for name, value in (("owner", owner), ("due", due)) if value}
        changed = asking.ask("POST", path(id, "actions"), order).document
        asking.tell(changed, as_json, lambda _: [f"accepted: {visible(order['text'])}"])
        return
    answer = asking.ask("POST", where, {"days": days}, timeout=PATIENCE).document
    asking.tell(answer, as_json, _lines)


def _accepted(asking: Asking, answer: Document, number: int) -> Document:
    """An action item of one line: other thresholds of a rule, or a containment that is prepared."""
    told: list[str] = answer["lines"]
    if not 0 < number <= len(told):
        raise asking.stop(f"there is no line {number}: the newest answer has {len(told)}", UNUSABLE)
    rules: list[dict[str, Any]] = answer["earlier"]
    details: dict[str, str] = {"answer": str(answer["digest"])}
    kind = "process"
    if number <= len(rules):
        rule = rules[number - 1]
        lower = " ".join(f"{name}={value:g}" for name, value in sorted(rule["thresholds"].items()))
        kind = "threshold" if lower else "rule"
        details |= {"rule": str(rule["rule"])} | ({"new": lower} if lower else {})
    return {"text": told[number - 1], "kind": kind, "details": details}


def _lines(answer: Document) -> list[str]:
    told: list[str] = answer["lines"]
    found = [f"{number}  {visible(line)}" for number, line in enumerate(told, 1)]
    found = found or ["nothing that is known would have told or stopped anything earlier"]
    found += [f"not played: {visible(each)}" for each in answer["unplayed"]]
    return [*found, f"{answer['rows']} rows before the detection; digest {visible(answer['digest'])}"]
