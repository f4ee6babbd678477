"""Duties to notify authorities: when each stage is due. The texts of law stand in a file, not here.

A clock of this kind starts when a person says so. What is computed is a date to be reminded of; whether a
duty exists, and what is sent, people decide.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from airlock.core import units
from airlock.incident.clocks import Clock, made
from airlock.incident.occasion import Occasion
from airlock.incident.orders import MeetRegulatory, StartRegulatory, Trigger
from airlock.incident.settling import settle
from airlock.incident.texts import check
from airlock.model.incident import Decided, Incident, IncidentEvent, Kind, RegulatoryClock
from airlock.model.lease import Unfit

_OWN = re.compile(r"([1-9]\d{0,3})(mo|bd)", re.ASCII)
_ID = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
FRIDAY = 4


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do. `limits`: by what it counts from; an empty one names no date."""

    name: str
    limits: dict[Trigger | Literal["stage"], str]
    after: str = ""


class Regulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One duty. `reviewed_on` (`YYYY-MM-DD`) None: nobody has reviewed it, and everybody is told."""

    id: str
    title: str
    trigger: tuple[Trigger, ...]
    stages: tuple[Stage, ...]
    source_url: str
    reviewed_on: str | None = None
    reviewer: str = ""
    enabled: bool = True

    @property
    def reviewed(self) -> bool:
        return bool(self.reviewed_on and self.reviewer)


Law = Mapping[str, Regulation]


@cache
def shipped() -> Law:
    """The duties that come with the program."""
    return parse((Path(__file__).parent / "regulations.yaml").read_text(), "regulations.yaml")


def chosen(file: str | None) -> Law:
    """The duties of a file of the operator's own, None: of the shipped one. Raises `Unfit`
    `regulations_invalid`, also where the file cannot be read."""
    if file is None:
        return shipped()
    try:
        return parse(Path(file).read_text(), file)
    except (OSError, UnicodeDecodeError) as unread:
        raise Unfit("regulations_invalid", f"{file} cannot be read: {unread}") from unread


def known(file: str | None) -> Law:
    """The same, and the shipped ones where that file cannot be used: the engine says so in its log."""
    try:
        return chosen(file)
    except Unfit:
        return shipped()


@lru_cache(maxsize=4)
def parse(text: str, where: str) -> Law:
    """The duties of a file in YAML. Raises `Unfit` `regulations_invalid` that says where and what."""
    import yaml

    try:
        # YAML takes `2026-11-01` for a date; msgspec writes one as the text that it is.
        found = msgspec.to_builtins(yaml.safe_load(text), str_keys=True)
        return _checked(msgspec.convert(found, list[Regulation], str_keys=True))
    except (yaml.YAMLError, ValueError) as wrong:  # what msgspec raises is a ValueError
        raise Unfit("regulations_invalid", f"{where}: {wrong}") from wrong


def clocks(incident: Incident, law: Law, now: float) -> list[Clock]:
    """A clock for each stage of each duty that was started."""
    return [clock for each in law.values() for clock in _clocks(incident, each, now)]


def start(incident: Incident, order: StartRegulatory, occasion: Occasion, law: Law) -> Decided:
    """A duty runs from a moment, or does not apply and why.

    Raises `Unfit`: `regulation_unknown`, `regulation_disabled`, `regulation_trigger`, `time_invalid`.
    """
    check(order)
    duty = _known(law, order.id)
    if not duty.enabled:
        raise Unfit("regulation_disabled", f"{duty.id} is not enabled in the file of the regulations.")
    if order.not_applicable:
        return _set_aside(incident, duty, order.not_applicable, occasion)
    if order.trigger not in duty.trigger:
        raise Unfit("regulation_trigger", f"{duty.id} starts by {' or '.join(duty.trigger)}.")
    at = occasion.now if order.at is None else order.at
    if not 0 <= at <= occasion.now:
        raise Unfit("time_invalid", "The start lies ahead of the present, or is no time.")
    before = next((each for each in incident.regulatory if each.id == duty.id), None)
    clock = RegulatoryClock(
        id=duty.id, trigger=order.trigger, started_at=at, met={} if before is None else before.met
    )
    others = tuple(
        each for each in incident.regulatory if each.id != duty.id or each.trigger not in ("", order.trigger)
    )
    after = msgspec.structs.replace(incident, regulatory=(*others, clock))
    dates = {each.name: each.due_at for each in _clocks(after, duty, occasion.now)}
    summary = f"Duty {duty.title} runs by {order.trigger}" + ("" if duty.reviewed else " (unreviewed)")
    said = _event("clock_started", occasion, summary, clock=duty.id, due=dates, reviewed=duty.reviewed)
    said = msgspec.structs.replace(said, occurred_at=at)
    return settle(incident, after, (said,), occasion.now)


def meet(incident: Incident, order: MeetRegulatory, occasion: Occasion, law: Law) -> Decided:
    """A stage was done. Raises `Unfit`: `regulation_unknown`, `regulation_stage`, `time_invalid`."""
    duty = _known(law, order.id)
    started = any(each.id == duty.id and each.started_at is not None for each in incident.regulatory)
    if not started or order.stage not in [stage.name for stage in duty.stages]:
        names = ", ".join(stage.name for stage in duty.stages)
        raise Unfit("regulation_stage", f"{duty.id} has to be started; its stages are {names}.")
    at = occasion.now if order.at is None else order.at
    if not 0 <= at <= occasion.now:
        raise Unfit("time_invalid", "The time lies ahead of the present, or is no time.")
    regulatory = tuple(
        msgspec.structs.replace(each, met=each.met | {order.stage: at}) if each.id == duty.id else each
        for each in incident.regulatory
    )
    after = msgspec.structs.replace(incident, regulatory=regulatory)
    summary = f"Duty {duty.title}: {order.stage} was done"
    said = _event("clock_met", occasion, summary, clock=f"{duty.id}:{order.stage}")
    return settle(incident, after, (msgspec.structs.replace(said, occurred_at=at),), occasion.now)


def add(at: float, limit: str) -> float:
    """The moment so long after another. `limit`: a duration, `1mo`, or `4bd`. Raises ValueError."""
    match = _OWN.fullmatch(limit)
    if match is None:
        return at + units.duration(limit)
    count, moment = int(match[1]), datetime.fromtimestamp(at, UTC)
    if match[2] == "mo":
        month = moment.month - 1 + count
        year, month = moment.year + month // 12, month % 12 + 1
        last = calendar.monthrange(year, month)[1]
        return moment.replace(year=year, month=month, day=min(moment.day, last)).timestamp()
    while count:
        moment += timedelta(days=1)
        count -= moment.weekday() <= FRIDAY
    return moment.timestamp()


def _clocks(incident: Incident, duty: Regulation, now: float) -> Iterator[Clock]:
    running = [each for each in incident.regulatory if each.id == duty.id and each.started_at is not None]
    if not running:
        return
    met = running[-1].met
    ends: dict[str, float] = {}
    for stage in duty.stages:
        start, due_at = _due(stage, running, ends)
        if due_at is not None:
            ends[stage.name] = due_at
        if stage.name in met:
            ends[stage.name] = met[stage.name]
        yield made(
            kind="regulatory",
            name=f"{duty.id}:{stage.name}",
            started_by=" and ".join(each.trigger for each in running),
            started_at=start,
            due_at=due_at,
            now=now,
            met_at=met.get(stage.name),
            met_by="done" if stage.name in met else "",
            note=duty.title if duty.reviewed else f"{duty.title}; unreviewed",
        )


def _due(
    stage: Stage, running: Sequence[RegulatoryClock], ends: Mapping[str, float]
) -> tuple[float, float | None]:
    """From when a stage counts, and when it is due."""
    if stage.after:
        before = ends.get(stage.after)
        first = min(each.started_at or 0.0 for each in running)
        return (first, None) if before is None else (before, add(before, stage.limits["stage"]))
    found = [
        (add(each.started_at, limit), each.started_at)
        for each in running
        if each.started_at is not None and each.trigger and (limit := stage.limits.get(each.trigger))
    ]
    if not found:
        return min(each.started_at or 0.0 for each in running), None
    due_at, start = min(found)
    return start, due_at


def _set_aside(incident: Incident, duty: Regulation, why: str, occasion: Occasion) -> Decided:
    clock = RegulatoryClock(id=duty.id, not_applicable=f"{why} ({occasion.actor.id})")
    others = tuple(each for each in incident.regulatory if each.id != duty.id)
    after = msgspec.structs.replace(incident, regulatory=(*others, clock))
    said = _event("decision", occasion, f"Duty {duty.title} does not apply: {why}", clock=duty.id)
    return settle(incident, after, (said,), occasion.now)


def _known(law: Law, id: str) -> Regulation:
    duty = law.get(id)
    if duty is None:
        raise Unfit("regulation_unknown", f"There is no duty {id[:64]!r}: one of {', '.join(law)}.")
    return duty


def _event(kind: Kind, occasion: Occasion, summary: str, **details: object) -> IncidentEvent:
    return IncidentEvent(
        kind=kind,
        at=occasion.now,
        occurred_at=occasion.now,
        actor=occasion.actor,
        summary=summary,
        details=details,
        visibility="legal",
        csf="RS",
    )


def _checked(found: Sequence[Regulation]) -> Law:
    """Raises ValueError where an entry could not be computed with, or an id stands there twice."""
    for each in found:
        _check(each)
    law = {each.id: each for each in found}
    if len(law) < len(found):
        raise ValueError("an id stands there twice")
    return law


def _check(duty: Regulation) -> None:
    if not _ID.fullmatch(duty.id):
        raise ValueError(f"{duty.id[:64]!r} is no id: lower-case letters, digits and _")
    if not duty.stages or not duty.trigger:
        raise ValueError(f"{duty.id} needs a trigger and a stage")
    known: set[str] = set()
    for stage in duty.stages:
        _check_stage(duty, stage, known)
        known.add(stage.name)


def _check_stage(duty: Regulation, stage: Stage, known: set[str]) -> None:
    where = f"{duty.id}, stage {stage.name!r}"
    if stage.name in known or not _ID.fullmatch(stage.name):
        raise ValueError(f"{where}: a name of its own in lower-case letters")
    starts = ("stage",) if stage.after else duty.trigger
    if stage.after and stage.after not in known:
        raise ValueError(f"{where}: after {stage.after!r}, which does not come before it")
    if not stage.limits or any(name not in starts for name in stage.limits):
        raise ValueError(f"{where}: limits count from {', '.join(starts)}")
    for limit in stage.limits.values():
        if limit or stage.after:
            try:
                add(0.0, limit)
            except ValueError as wrong:
                raise ValueError(f"{where}: {limit!r} is no limit: write 72h, 3d, 1mo or 4bd") from wrong
