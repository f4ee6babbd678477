"""What the checking scripts cannot do in a shell: read answers; `check_inputs.py` makes what they send.

`checks.py VERB [ARGUMENT...]` reads standard input and prints one line, or several. Exit code 0: it is as it
should be, or was made; 1: it is not, and the line says what was seen; 3: it cannot be told.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from check_inputs import MARKER, Untold, Wrong, call, canaries, minted, subject

from airlock.audit.visible import visible
from airlock.mcp.strict import is_array, is_object

LIST_ID = "airlock-check"
"""The id of the question for a list: its answer has it too."""

SHOWN = 200
"""Characters of what was seen."""


class Tool(msgspec.Struct):
    """A tool of `tools/list`."""

    name: str
    input_schema: dict[str, Any] = msgspec.field(name="inputSchema", default_factory=dict[str, Any])


class Meta(msgspec.Struct):
    """What the gateway says of its own refusal."""

    refusal: dict[str, Any] | None = msgspec.field(name="dev.airlock/refusal", default=None)


class Result(msgspec.Struct):
    """The result of a list or of a call."""

    tools: list[Tool] | None = None
    is_error: bool = msgspec.field(name="isError", default=False)
    meta: Meta = msgspec.field(name="_meta", default_factory=Meta)


class RpcError(msgspec.Struct):
    """A JSON-RPC error."""

    code: int
    message: str


class Answer(msgspec.Struct):
    """A JSON-RPC answer."""

    id: Any = None
    result: Result | None = None
    error: RpcError | None = None


class Row(msgspec.Struct):
    """The deciding row of a call."""

    chain_uid: str
    seq: int
    decision: str | None
    reason: str | None
    resource: str | None
    subject: str | None


class Rows(msgspec.Struct):
    """What `airlock audit query --json` prints."""

    rows: list[Row]


class Component(msgspec.Struct):
    """A component of `/ready`."""

    state: str
    reason: str | None = None


class Readiness(msgspec.Struct):
    """What `/ready` answers."""

    ready: bool
    components: dict[str, Component]


class Door(msgspec.Struct):
    """A line of `/admin/routes`."""

    method: str
    path: str
    auth: str


class Doors(msgspec.Struct):
    """What `/admin/routes` answers."""

    routes: list[Door]


class Report(msgspec.Struct):
    """What `airlock audit verify --json` prints, as far as it is read here."""

    exit: int
    rows: int
    finding_count: int
    findings: list[dict[str, Any]]
    unproven: list[str]


def ready(given: bytes) -> str:
    """Every component that is not `ok`."""
    told = msgspec.json.decode(given, type=Readiness)
    trouble = [
        f"{name} {one.state} ({one.reason})" for name, one in told.components.items() if one.state != "ok"
    ]
    if not told.ready:
        raise Wrong(", ".join(trouble) or "not ready")
    return ", ".join(trouble) or "every component is ok"


def tools(given: bytes) -> str:
    """The names in a list, one a line."""
    return "\n".join(tool.name for tool in _listed(given))


def echo_tool(given: bytes, wanted: str, arguments: str) -> str:
    """The tool `wanted`, or one that is called `echo`, and arguments in which MARKER stands for a text."""
    listed = _listed(given)
    for tool in listed:
        if tool.name == wanted or (not wanted and tool.name.rpartition("__")[2] == "echo"):
            return f"{tool.name}\t{arguments or _text_argument(tool)}"
    what = f"{wanted} is not among" if wanted else "no tool is called `echo` (name one in TEST_TOOL) among"
    raise Wrong(f"{what} the {len(listed)} tools")


def echoed(given: bytes, text: str) -> str:
    """The tool answered, with the text."""
    answer = _answer(given)
    if answer.error is not None:
        raise Wrong(_error(answer.error))
    result = answer.result or Result(is_error=True)
    if result.meta.refusal is not None:
        raise Wrong(f"refused: {_word(result.meta.refusal)}")
    if result.is_error:
        raise Wrong("a tool error")
    if text not in given.decode(errors="replace"):
        raise Wrong("another text came back")
    return text


def refused(given: bytes) -> str:
    """The gateway refused a call: by its own word, or as a tool that this caller may not know of."""
    answer = _answer(given)
    if answer.error is not None:
        return _error(answer.error)
    result = answer.result or Result()
    if result.meta.refusal is None or not result.is_error:
        raise Wrong("no refusal")
    return _word(result.meta.refusal)


def allowed(given: bytes) -> str:
    """One row, of a call that was allowed."""
    row = _row(given)
    if row.decision != "allow":
        raise Wrong(_told(row))
    return _told(row)


def denied(given: bytes) -> str:
    """One row, of a call of a tool that exists, denied by policy and not for the shape of its arguments."""
    row = _row(given)
    reason = row.reason or ""
    if row.decision != "deny" or not reason.startswith(("policy_denied", "approval_required")):
        raise Wrong(_told(row))
    if not row.resource or reason.endswith("arguments_invalid"):
        hint = "policy had no part in it: see FORBIDDEN_TOOL and FORBIDDEN_ARGUMENTS"
        raise Wrong(f"{_told(row)}: {hint}")
    return _told(row)


def canary(given: bytes, detector: str, secret: str) -> str:
    """The secret did not come back, and what stands in its place did."""
    texts = list(_texts(msgspec.json.decode(given)))
    if any(secret in text for text in texts):
        raise Wrong("it came back")
    if not any(f"[REDACTED:{detector}]" in text for text in texts):
        raise Untold("neither it nor what stands in its place came back")
    return "it did not come back"


def report(given: bytes) -> str:
    """The log is proven; what contradicts it, or what is unproven."""
    told = msgspec.json.decode(given, type=Report)
    if told.exit == 0:
        return f"{told.rows} rows without contradiction"
    first = told.findings[0] if told.findings else {}
    where = " ".join(visible(first.get(key), SHOWN) for key in ("code", "chain_uid", "seq", "what"))
    raise Wrong(f"{told.finding_count} contradictions, {where} {'; '.join(told.unproven)}".strip())


def routes(given: bytes) -> str:
    """Method, path and credential of every door, with a name that nothing has for variable parts."""
    told = msgspec.json.decode(given, type=Doors)
    return "\n".join(f"{door.method} {_filled(door.path)} {door.auth}" for door in told.routes)


def _answer(given: bytes) -> Answer:
    return msgspec.json.decode(given, type=Answer)


def _error(error: RpcError) -> str:
    return f"{error.code} {visible(error.message, SHOWN)}"


def _word(refusal: dict[str, Any]) -> str:
    return visible(f"{refusal.get('code')} {refusal.get('reason')}", SHOWN)


def _listed(given: bytes) -> list[Tool]:
    answer = _answer(given)
    result = answer.result
    if result is None or result.tools is None or answer.id != LIST_ID:
        raise Wrong(f"no list: {visible(given.decode(errors='replace'), SHOWN)}")
    return result.tools


def _text_argument(tool: Tool) -> str:
    """Arguments of a tool that takes a text: its first property of that type."""
    for name, schema in tool.input_schema.get("properties", {}).items():
        if schema.get("type") == "string":
            return json.dumps({name: MARKER})
    raise Wrong(f"{tool.name} takes no text: give its arguments in TEST_ARGUMENTS")


def _row(given: bytes) -> Row:
    found = msgspec.json.decode(given, type=Rows).rows
    if len(found) != 1:
        raise Wrong(f"{len(found)} rows of this call instead of one")
    return found[0]


def _told(row: Row) -> str:
    told = (row.chain_uid, row.seq, row.subject, row.resource, row.decision, row.reason)
    return " ".join(visible(value, SHOWN) for value in told)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_object(value):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif is_array(value):
        for item in value:
            yield from _texts(item)


def _filled(path: str) -> str:
    return "/".join("nothing" if part.startswith("{") else part for part in path.split("/"))


VERBS: dict[str, Callable[..., str]] = {
    verb.__name__: verb
    for verb in (
        ready, tools, echo_tool, call, echoed, refused, allowed, denied, canaries, canary, report, routes,
        subject, minted,
    )
}  # fmt: skip


def main() -> int:
    """See the module."""
    from airlock.core.errors import ConfigError

    verb, *arguments = sys.argv[1:]
    try:
        print(VERBS[verb](sys.stdin.buffer.read(), *arguments))
    except Wrong as wrong:
        print(wrong)
        return 1
    except (Untold, ConfigError) as untold:
        print(visible(untold, SHOWN))
        return 3
    except ValueError as malformed:  # what was read is not what it was asked to be
        print(visible(f"something else was answered: {malformed}", SHOWN))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
