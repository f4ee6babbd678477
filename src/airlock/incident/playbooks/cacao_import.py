"""CACAO 2.0 from elsewhere: a document becomes a playbook that is not active until somebody has read it.

What our extension says is believed no more than a text would be: the playbook is written as Markdown and
compiled like any other. Of a document without the extension every command becomes a manual step, whatever its
type, and what has loops, branches or parallel ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from airlock.incident.playbooks import cacao
from airlock.incident.playbooks.calls import CallError, read_call
from airlock.incident.playbooks.compile import Compiled, compile_playbook
from airlock.incident.playbooks.fences import LONGEST_TITLE, MANUAL_TIMEOUT, MOST
from airlock.incident.playbooks.problem import PlaybookError, Problem
from airlock.incident.playbooks.write import write
from airlock.model.incident import SEVERITIES, IncidentSeverity, IncidentType
from airlock.model.playbook import END, STOP, Call, Manual, Plan, PlannedStep

LARGEST = 1024 * 1024
"""Bytes of a document."""


class _Own(msgspec.Struct, frozen=True, kw_only=True):
    """Our extension of a step."""

    id: str
    position: int
    title: str = ""
    call: str = ""
    language: str = "text"
    approvals: int = 0
    ttl: float | None = None
    when: str = ""


class _OwnFront(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    types: tuple[IncidentType, ...]
    severity_floor: IncidentSeverity
    triggers: tuple[str, ...] = ()
    impact: str = ""
    owner: str = ""
    reviewed_on: str = ""
    last_drill: str = "pending"
    pre_approved: tuple[str, ...] = ()


class _Command(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    command: str = ""
    content: str = ""
    description: str = ""


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    name: str = ""
    commands: tuple[_Command, ...] = ()
    timeout: int | None = None
    delay: int = 0
    on_completion: str = ""
    on_success: str = ""
    on_failure: str = ""
    step_extensions: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict[str, msgspec.Raw])


class _Playbook(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    spec_version: str
    name: str
    description: str = ""
    severity: int = 50
    workflow_start: str
    workflow: dict[str, _Step]
    playbook_extensions: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict[str, msgspec.Raw])


def read(document: bytes) -> tuple[str, Compiled]:
    """The Markdown of a CACAO document, and what it compiles to: not active.

    Raises `PlaybookError`; its lines are those of the Markdown, or 1 for the document as a whole.
    """
    if len(document) > LARGEST:
        raise _refused(f"a document has {LARGEST} bytes at most")
    try:
        found = msgspec.json.decode(document, type=_Playbook)
        if (found.type, found.spec_version) != ("playbook", "cacao-2.0"):
            raise _refused("this is no playbook of CACAO 2.0")
        text = write(_plan(found))
    except (msgspec.DecodeError, CallError, RecursionError) as wrong:
        raise _refused(f"not understood: {wrong}") from wrong
    return text, compile_playbook(text)


def _plan(found: _Playbook) -> Plan:
    odd = sorted({step.type for step in found.workflow.values()} - {"start", "action", "end"})
    if odd:
        raise _refused(f"steps of the type {', '.join(odd)} are not supported: start, action and end are")
    first = found.workflow.get(found.workflow_start)
    if first is None or not first.on_completion:
        raise _refused("workflow_start names no step that leads on")
    actions = {place: step for place, step in found.workflow.items() if step.type == "action"}
    own = {place: _extension(step.step_extensions, _Own) for place, step in actions.items()}
    order = _ordered(found, actions, own, first.on_completion)
    names = {place: extension.id if extension else _name(order, place) for place, extension in own.items()}
    steps = tuple(_planned(found, actions[place], own[place], names, place) for place in order)
    extended = _extension(found.playbook_extensions, _OwnFront)
    front = extended if extended is not None else _front(found)
    return Plan(
        **msgspec.structs.asdict(front),
        title=_printable(found.name),
        active=False,
        start=_to(found, names, first.on_completion),
        steps=steps,
    )


def _ordered(
    found: _Playbook, actions: Mapping[str, _Step], own: Mapping[str, _Own | None], start: str
) -> list[str]:
    """The actions as the document will have them: as they were, else from the start on."""
    if len(actions) > MOST:
        raise _refused(f"a playbook has {MOST} steps at most")
    places = {place: extension.position for place, extension in own.items() if extension is not None}
    if len(places) == len(actions):
        return sorted(places, key=places.__getitem__)
    done: list[str] = []
    waiting = [start]
    while waiting:
        place = waiting.pop(0)
        if place in actions and place not in done:
            done.append(place)
            waiting += [to for to in _next(actions[place]) if to]
    return [*done, *(place for place in actions if place not in done)]


def _next(step: _Step) -> tuple[str, str]:
    if step.on_completion:
        return step.on_completion, step.on_completion
    return step.on_success, step.on_failure


def _planned(
    found: _Playbook, step: _Step, own: _Own | None, names: Mapping[str, str], place: str
) -> PlannedStep:
    success, failure = _next(step)
    do: Call | Manual
    if own is not None and own.call:
        do = read_call(own.call)
    else:
        text = "\n".join(filter(None, map(_said, step.commands))) or step.name
        do = Manual(language=_word(own.language if own else step.commands[:1]), text=_plain(text))
    return PlannedStep(
        id=names[place],
        title=_printable(own.title if own is not None else step.name)[:LONGEST_TITLE],
        do=do,
        when=own.when if own is not None else "",
        ttl=own.ttl if own is not None else None,
        approvals=own.approvals if own is not None else 0,
        on_success=_to(found, names, success),
        on_failure=_to(found, names, failure) if failure else STOP,
        timeout=step.timeout / 1000 if step.timeout else MANUAL_TIMEOUT,
        delay=step.delay / 1000,
    )


def _to(found: _Playbook, names: Mapping[str, str], place: str) -> str:
    if place in names:
        return names[place]
    step = found.workflow.get(place)
    if step is None or step.type != "end":
        raise _refused(f"a step leads to {place[:80]!r}, which is not there")
    return STOP if step.name == STOP else END


def _said(command: _Command) -> str:
    return command.command or command.content or command.description


def _word(given: str | Iterable[_Command]) -> str:
    word = given if isinstance(given, str) else next((command.type for command in given), "text")
    return word if re.fullmatch(r"[A-Za-z0-9_+-]{1,40}", word) and word != "action" else "text"


def _front(found: _Playbook) -> _OwnFront:
    floor: IncidentSeverity = "P3"
    for name in reversed(SEVERITIES):
        floor = name if found.severity >= cacao.SEVERITY[name] else floor
    slug = re.sub(r"[^a-z0-9]+", "-", found.name.lower()).strip("-")[:60]
    return _OwnFront(
        id=slug if slug[:1].isalpha() else f"cacao-{slug}".strip("-"),
        types=("security_incident",),
        severity_floor=floor,
        impact=_printable(found.description)[:500],
    )


def _name(order: list[str], place: str) -> str:
    return f"step_{order.index(place) + 1}"


_Extended = TypeVar("_Extended", bound=msgspec.Struct)


def _extension(given: Mapping[str, msgspec.Raw], kind: type[_Extended]) -> _Extended | None:
    raw = given.get(cacao.EXTENSION)
    return None if raw is None else msgspec.json.decode(raw, type=kind)


def _printable(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _plain(text: str) -> str:
    """Lines of printable characters: what a fence can hold and a terminal can show."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines).strip("\n")


def _refused(text: str) -> PlaybookError:
    return PlaybookError([Problem(1, text)])
