"""`airlock incident review`: begin the review, and write what people say of the incident."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Document, state
from airlock.cli.incident.steps import Given

LISTS = frozenset(("contributing_factors", "went_well", "improve"))


def review(
    id: Given,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MEMBER=VALUE]...", help="What people say, such as `occurrence=...`."),
    ] = None,
    *,
    begin: Annotated[bool, typer.Option("--begin", help="Begin the review.")] = False,
    scheduled: Annotated[str, typer.Option(help="When people meet, `2026-11-28T21:07:00Z`.")] = "",
    link: Annotated[str, typer.Option(help="Where they meet.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the five questions `occurrence prevention detection_delay resolution_time monitoring`, the lists
    `contributing_factors went_well improve` (items with ; between them), `resolution`, `preventive_measures`
    and `breach_answered=true|false`; with `--begin`, begin the review first.

    Exit code 0: done; 1: refused, with what is missing; 2: could not run.
    """
    asking = Asking(config, token)
    order = {name: value for name, value in (("scheduled_for", scheduled), ("link", link)) if value}
    written: Document = {**order, **_members(asking, settings or [])}
    document: Document = {}
    if begin:
        document = asking.ask("POST", f"/api/v1/incidents/{quote(id, safe='')}/review", order).document
    if written:
        document = asking.ask("POST", f"/api/v1/reviews/{quote(id, safe='')}", written).document
    asking.tell(document or asking.of(id), as_json, lambda told: [*state(told), *_lines(told)])


def _members(asking: Asking, settings: list[str]) -> Document:
    found: Document = {}
    for setting in settings:
        member, equals, value = setting.partition("=")
        if not equals:
            raise asking.stop(f"{visible(setting)}: write MEMBER=VALUE", UNUSABLE)
        found[member] = _value(member, value)
    return found


def _value(member: str, text: str) -> Any:
    if member in LISTS:
        return [item.strip() for item in text.split(";") if item.strip()]
    return {"true": True, "false": False}.get(text, text) if member == "breach_answered" else text


def _lines(document: Document) -> list[str]:
    told = document["incident"]["review"]
    shown = {**told, **told["whys"]}
    return [f"{name}: {visible(value)}" for name, value in shown.items() if value and name != "whys"]
