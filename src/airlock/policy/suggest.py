"""The smallest readable policy that allows what was seen: roles x tools x the shapes of arguments.

Its rules are made for reading: one per role with the tools it used, one per tool with what its arguments
looked like, and a comment `QUESTION` wherever a person should ask whether what was seen is right. Names come
from servers and callers: they enter the policy as quoted text only. No value of an argument is copied into
it, beside folders and hosts.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

import msgspec

from airlock.model.decision import PolicyInput, TargetInput
from airlock.policy import doubts
from airlock.policy.shapes import HERE, ROOT, Shape, shapes

POLICY = "suggested.rego"
GOLDEN = "suggested.decisions.jsonl"

_EXAMPLES: dict[str, object] = {
    "string": "x", "number": 1, "boolean": True, "array": [], "object": {}, "null": None
}  # fmt: skip
_UNSEEN = "never seen"
"""Name of an argument that no tool was called with."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was let through. Without recorded arguments its question has none."""

    question: PolicyInput
    recorded: bool = True
    """Whether the arguments are those of the call."""
    would_deny: str = ""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What one role of a tenant used, or a person without a role: tool -> number of calls."""

    tenant: str
    role: str = ""
    person: str = ""
    issuer: str = ""
    tools: dict[str, int]


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """How one tool was called; `arguments` is None where they cannot be listed."""

    target: TargetInput
    calls: int
    arguments: dict[str, Shape] | None
    recorded: bool
    doubts: tuple[str, ...]


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """The files of the bundle, and what it stands on."""

    files: dict[str, bytes]
    grants: tuple[Grant, ...]
    tools: dict[str, ToolUse]

    @property
    def questions(self) -> list[tuple[str, str]]:
        """(what, doubt) of everything that is marked."""
        return [(name, doubt) for name, use in self.tools.items() for doubt in use.doubts] + [
            (grant.person, "has no role") for grant in self.grants if grant.person
        ]


def suggest(calls: Sequence[Seen], *, period: str) -> Suggestion:
    """The bundle that allows these calls; `period` says in words when they were made. Raises ValueError for
    no call."""
    if not calls:
        raise ValueError("nothing was seen")
    grants, tools = tuple(_grants(calls)), _tools(calls)
    suggestion = Suggestion(files={}, grants=grants, tools=tools)
    policy = "".join(f"{line}\n" for line in _policy(suggestion, len(calls), period))
    golden = "".join(f"{line}\n" for line in _golden(suggestion))
    return msgspec.structs.replace(suggestion, files={POLICY: policy.encode(), GOLDEN: golden.encode()})


def tool_name(target: TargetInput) -> str:
    return f"{target.server}/{target.name}"


def _grants(calls: Sequence[Seen]) -> Iterator[Grant]:
    """For each tenant the fewest roles that explain what was seen; people without a role by themselves."""
    holders: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    used: dict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for call in calls:
        holders[call.question.subject.tenant, tool_name(call.question.target)].append(call)
    for (tenant, tool), group in holders.items():
        waiting = [call.question.subject for call in group]
        while held := Counter(role for subject in waiting for role in set(subject.roles)):
            most = max(held.values())
            role = min((name for name, count in held.items() if count == most), key=_preferred)
            used[tenant, role, "", ""][tool] += held[role]
            waiting = [subject for subject in waiting if role not in subject.roles]
        for subject in waiting:
            used[tenant, "", subject.id, subject.issuer][tool] += 1
    for (tenant, role, person, issuer), tools in sorted(used.items()):
        counted = dict(sorted(tools.items()))
        yield Grant(tenant=tenant, role=role, person=person, issuer=issuer, tools=counted)


def _preferred(role: str) -> tuple[bool, str]:
    """Of roles that explain as much, one that is no administrator."""
    return "admin" in role.lower(), role


def _tools(calls: Sequence[Seen]) -> dict[str, ToolUse]:
    by_tool: dict[str, list[Seen]] = defaultdict(list)
    for call in calls:
        by_tool[tool_name(call.question.target)].append(call)
    return {name: _use(group) for name, group in sorted(by_tool.items())}


def _use(group: list[Seen]) -> ToolUse:
    target, recorded = group[-1].question.target, all(call.recorded for call in group)
    found = shapes(call.question.arguments for call in group) if recorded else None
    asked = list(doubts.of_tool(target))
    if recorded:
        asked += doubts.of_arguments(found)
    else:
        asked.append("its arguments were not recorded: any are let through")
    tenants = {call.question.subject.tenant for call in group}
    if len(tenants) > 1 and any(shape.folders or shape.origins for shape in (found or {}).values()):
        asked.append(f"{len(tenants)} tenants use it: each may name the places that the others did")
    if any(call.would_deny.startswith("definition_not_approved") for call in group):
        asked.append("its definition changed while it was observed, and waits for approval")
    return ToolUse(target=target, calls=len(group), arguments=found, recorded=recorded, doubts=tuple(asked))


def _policy(suggestion: Suggestion, calls: int, period: str) -> Iterator[str]:
    """The lines of the policy."""
    marked = len(suggestion.questions)
    yield f"# Suggested from {_count(calls, 'call')} seen {period}."
    yield "# It allows calls like those and nothing else. What was seen need not be right: look at every line"
    yield f"# that says QUESTION ({marked}), take out what should not be, then let it decide (`policy.path`)."
    yield _library()
    yield "# Who may use which tool."
    for grant in suggestion.grants:
        yield from _grant_rule(grant)
    yield "\n# What the arguments looked like. One that is not named was not seen, and is refused."
    for name, use in suggestion.tools.items():
        yield from _fits_rule(name, use)


def _library() -> str:
    """The rules that are the same in every suggestion."""
    return resources.files("airlock.policy").joinpath("suggested.rego.txt").read_text(encoding="utf-8")


def _grant_rule(grant: Grant) -> Iterator[str]:
    who = f"role {_text(grant.role)}" if grant.role else f"{_text(grant.person)}, who has no role"
    tools = _count(len(grant.tools), "tool")
    yield f"\n# {_text(grant.tenant)}, {who}: {tools}, {_count(sum(grant.tools.values()), 'call')}."
    if grant.person:
        yield "# QUESTION: has no role: give one, or take this out."
    yield "granted if {"
    yield f"\tinput.subject.tenant == {_text(grant.tenant)}"
    if grant.role:
        yield f"\t{_text(grant.role)} in input.subject.roles"
    else:
        yield f"\tinput.subject.issuer == {_text(grant.issuer)}"
        yield f"\tinput.subject.id == {_text(grant.person)}"
    yield "\ttool in {"
    last = list(grant.tools)[-1]
    for tool, calls in grant.tools.items():
        yield f"\t\t{_text(tool)}{'' if tool == last else ','} # {_count(calls, 'call')}"
    yield "\t}\n}"


def _fits_rule(name: str, use: ToolUse) -> Iterator[str]:
    yield f"\n# {_count(use.calls, 'call')}."
    for doubt in use.doubts:
        yield f"# QUESTION: {_comment(doubt)}"
    yield f"fits if {{\n\ttool == {_text(name)}"
    if use.arguments is not None:
        yield f"\tnamed({_set(use.arguments)})"
        for argument, shape in use.arguments.items():
            yield f"\t{_condition(argument, shape)}"
    yield "}"


def _condition(argument: str, shape: Shape) -> str:
    if shape.folders:
        return f"within({_text(argument)}, {_set(shape.folders)})"
    if shape.origins:
        return f"leads({_text(argument)}, {_set(shape.origins)})"
    return f"typed({_text(argument)}, {_set(shape.types)})"


def _set(texts: Iterable[str]) -> str:
    return "{" + ", ".join(map(_text, texts)) + "}" if texts else "set()"


def _text(text: str) -> str:
    """A quoted text of Rego: one line that shows what it says, whatever is in it."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(mark if mark.isprintable() else _escape(mark) for mark in quoted)


def _escape(mark: str) -> str:
    units = mark.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _comment(text: str) -> str:
    """Part of a comment: one line, whatever is in it."""
    return _text(text)[1:-1]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _golden(suggestion: Suggestion) -> Iterator[str]:
    """The tests: what every grant allows, and that nothing beside it is allowed."""
    for grant in suggestion.grants:
        for tool in grant.tools:
            use = suggestion.tools[tool]
            asked = _question(grant, use, _example(use))
            who = f"{grant.tenant}/{grant.role or grant.person}"
            yield _line(f"{who} uses {tool}", asked, allow=True, word="granted")
            if use.arguments is not None:
                more = {**_example(use), _UNSEEN: 1}
                changed = _question(grant, use, more)
                yield _line(f"{who} uses {tool} with more", changed, allow=False, word="argument_not_seen")
            subject: dict[str, object] = {"tenant": grant.tenant, "roles": [], "id": "", "issuer": ""}
            nobody = {**asked, "subject": subject}
            yield _line(f"somebody of {grant.tenant} uses {tool}", nobody, allow=False, word="not_granted")
            for argument, shape in (use.arguments or {}).items():
                if shape.folders:
                    away = {**_example(use), argument: f"{shape.folders[0]}/../x"}
                    changed = _question(grant, use, away)
                    name = f"{who} leaves the folder of {tool}"
                    yield _line(name, changed, allow=False, word="argument_not_seen")
    first = suggestion.grants[0]
    use = suggestion.tools[next(iter(first.tools))]
    asked = _question(first, use, _example(use))
    foreign = {**asked, "target": {**asked["target"], "tenant": f"not {first.tenant}"}}
    yield _line("nobody crosses tenants", foreign, allow=False, word="tenant_mismatch")
    changed = {**asked, "target": {**asked["target"], "approved": False}}
    yield _line("a changed definition", changed, allow=False, word="definition_not_approved")


def _question(grant: Grant, use: ToolUse, arguments: dict[str, object]) -> dict[str, dict[str, object]]:
    subject: dict[str, object] = {"tenant": grant.tenant, "roles": [grant.role] if grant.role else []}
    if grant.person:
        subject |= {"id": grant.person, "issuer": grant.issuer}
    target: dict[str, object] = {"server": use.target.server, "name": use.target.name}
    return {"subject": subject, "target": target, "arguments": arguments}


def _example(use: ToolUse) -> dict[str, object]:
    """Arguments of the shape that was seen, not those that were seen."""
    return {name: _value(shape) for name, shape in (use.arguments or {}).items()}


def _value(shape: Shape) -> object:
    if shape.folders or shape.origins:
        place = (shape.folders or shape.origins)[0]
        text = "x" if place == HERE else "/x" if place == ROOT else f"{place}/x"
        return text if "string" in shape.types else [text]
    return _EXAMPLES[shape.types[0]]


def _line(name: str, asked: dict[str, dict[str, object]], *, allow: bool, word: str) -> str:
    golden = {"name": name, "input": asked, "decision": {"allow": allow, "reason": word}}
    return json.dumps(golden)
