"""What answers of a gateway mean to a check: what was seen is returned, or Wrong or Untold raised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from airlock.audit.visible import visible
from airlock.cli.canaries import texts_of
from airlock.cli.checks.board import Untold, Wrong
from airlock.cli.checks.made import LIST_ID, MARKER
from airlock.cli.checks.site import SHOWN
from airlock.mcp.names import FIND
from airlock.mcp.strict import is_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airlock.audit.inspection import Report
    from airlock.cli.checks.site import Said

T = TypeVar("T")

ECHO, GUARDED = "airlock__echo", "airlock__guarded"
"""The gateway's own tool for checks, and the one that policy has to refuse."""

ASTRAY = "secret_to_wrong_destination"
"""Reason of the refusal where a secret may go to certain servers only: it did not even leave the gateway."""


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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The deciding row of a call."""

    chain_uid: str
    seq: int
    decision: str | None
    reason: str | None
    resource: str | None
    subject: str | None
    synthetic: int | None

    @property
    def told(self) -> str:
        seen = (self.chain_uid, self.seq, self.subject, self.resource, self.decision, self.reason)
        return " ".join(visible(value, SHOWN) for value in seen)


class Component(msgspec.Struct):
    """A component of `/ready`."""

    state: str
    reason: str | None = None


class Readiness(msgspec.Struct):
    """What `/ready` answers."""

    ready: bool
    components: dict[str, Component]


class Worker(msgspec.Struct):
    """A worker in `/admin/status`."""

    slot: int
    ready: bool
    silent: bool
    components: dict[str, Component]


class Workers(msgspec.Struct):
    """What `/admin/status` answers."""

    workers: list[Worker]


class Door(msgspec.Struct):
    """A line of `/admin/routes`."""

    method: str
    path: str
    auth: str


class Doors(msgspec.Struct):
    """What `/admin/routes` answers."""

    routes: list[Door]


def ready(said: Said, everyone: Said) -> str:
    """Every component that is not `ok`; Wrong where one keeps the worker that was asked, or another, from
    serving."""
    told = _decoded(said.body, Readiness)
    trouble = _trouble(told.components)
    if not told.ready or said.status != 200:
        raise Wrong(trouble or said.seen)
    for worker in _workers(everyone):
        if not worker.ready:
            raise Wrong(f"worker {worker.slot}: {_trouble(worker.components) or 'not ready'}")
    return trouble or "every component is ok"


def upstreams(everyone: Said) -> str:
    """Every server behind the gateway answers, as far as any worker knows."""
    for worker in _workers(everyone):
        component = worker.components.get("upstreams")
        if component is None:
            raise Wrong(f"worker {worker.slot} says nothing of the servers")
        if component.state != "ok":
            raise Wrong(f"worker {worker.slot}: {_component('upstreams', component)}")
    return "every server answers"


def _workers(said: Said) -> list[Worker]:
    """All of them. Wrong where one is silent, Untold where that is not said."""
    if said.status != 200:
        raise Untold(f"ADMIN_TOKEN does not get the status of all workers: {said.seen}")
    workers = _decoded(said.body, Workers).workers
    if silent := [str(worker.slot) for worker in workers if worker.silent]:
        raise Wrong(f"silent, or not running: worker {', '.join(silent)}")
    if not workers:
        raise Wrong("no worker is there")
    return workers


def _trouble(components: Mapping[str, Component]) -> str:
    return ", ".join(_component(name, one) for name, one in components.items() if one.state != "ok")


def tools(said: Said) -> list[Tool]:
    """The tools of a list."""
    if said.status != 200:
        raise Wrong(said.seen)
    answer = _decoded(said.body, Answer)
    result = answer.result
    if result is None or result.tools is None or answer.id != LIST_ID:
        raise Wrong(f"no list: {said.seen}")
    return result.tools


def echo_tool(listed: Sequence[Tool], wanted: str, arguments: str) -> tuple[str, str]:
    """The tool `wanted`, or one that is called `echo`, and arguments in which MARKER stands for a text.

    The gateway's own comes first; where lists hold only the search for tools, it is called by its name.
    """
    names = {tool.name: tool for tool in listed}
    if not wanted:
        echoes = (name for name in names if name.rpartition("__")[2] == "echo")
        wanted = ECHO if ECHO in names or FIND in names else next(echoes, "")
    if wanted == ECHO and FIND in names:
        return wanted, arguments or json.dumps({"text": MARKER})
    if wanted not in names:
        missing = f"{wanted} is" if wanted else "no tool is called `echo` (name one in TEST_TOOL)"
        raise Wrong(f"{missing}{' not' if wanted else ''} among the {len(names)} tools")
    return wanted, arguments or _text_argument(names[wanted])


def echoed(given: bytes, text: str) -> str:
    """The tool answered, with the text."""
    answer = _decoded(given, Answer)
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
    answer = _decoded(given, Answer)
    if answer.error is not None:
        return _error(answer.error)
    result = answer.result or Result()
    if result.meta.refusal is None or not result.is_error:
        raise Wrong("no refusal")
    return _word(result.meta.refusal)


def allowed(rows: Sequence[Row]) -> Row:
    """One row, of a call that was allowed; one of the gateway's own tool says that it is a check's."""
    row = _one(rows)
    if row.decision != "allow":
        raise Wrong(row.told)
    if row.resource == "mcp://airlock/echo" and not row.synthetic:
        raise Wrong(f"{row.told}: metadata.synthetic is missing")
    return row


def denied(rows: Sequence[Row]) -> Row:
    """One row, of a call of a tool that exists, denied by policy and not for the shape of its arguments."""
    row = _one(rows)
    reason = row.reason or ""
    if row.decision != "deny" or not reason.startswith(("policy_denied", "approval_required")):
        raise Wrong(row.told)
    if not row.resource or reason.endswith("arguments_invalid"):
        hint = "policy had no part in it: see FORBIDDEN_TOOL and FORBIDDEN_ARGUMENTS"
        raise Wrong(f"{row.told}: {hint}")
    return row


def canary(given: bytes, detector: str, secret: str) -> None:
    """The secret did not come back, and what stands in its place did, or it may not even be sent there."""
    texts = list(texts_of(_decoded(given, object)))
    if any(secret in text for text in texts):
        raise Wrong("it came back")
    if not any(f"[REDACTED:{detector}]" in text or text == ASTRAY for text in texts):
        raise Untold("neither it nor what stands in its place came back")


def report(told: Report) -> str:
    """The log is proven. Wrong: what contradicts it; Untold: what is unproven."""
    if told.exit == 0:
        return f"{told.rows} rows without contradiction"
    if told.findings:
        first = told.findings[0]
        where = " ".join(
            visible(part, SHOWN) for part in (first.code, first.chain_uid, first.seq, first.what)
        )
        raise Wrong(f"{told.finding_count} contradictions, {where}")
    raise Untold("; ".join(told.unproven) or "not everything could be checked")


def routes(said: Said) -> list[Door]:
    """Every door, with a name that nothing has for variable parts of its path."""
    if said.status != 200:
        raise Wrong(said.seen)
    doors = _decoded(said.body, Doors).routes
    return [Door(method=door.method, path=_filled(door.path), auth=door.auth) for door in doors]


def _decoded(given: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(given, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as malformed:
        raise Wrong(visible(f"something else was answered: {malformed}", SHOWN)) from malformed


def _component(name: str, one: Component) -> str:
    return visible(f"{name} {one.state} ({one.reason})", SHOWN)


def _error(error: RpcError) -> str:
    return f"{error.code} {visible(error.message, SHOWN)}"


def _word(refusal: dict[str, Any]) -> str:
    return visible(f"{refusal.get('code')} {refusal.get('reason')}", SHOWN)


def _text_argument(tool: Tool) -> str:
    """Arguments of a tool that takes a text: its first property of that type."""
    properties: Any = tool.input_schema.get("properties", {})
    for name, schema in properties.items() if is_object(properties) else ():
        if is_object(schema) and schema.get("type") == "string":
            return json.dumps({name: MARKER})
    raise Wrong(f"{visible(tool.name)} takes no text: give its arguments in TEST_ARGUMENTS")


def _one(rows: Sequence[Row]) -> Row:
    if len(rows) != 1:
        raise Wrong(f"{len(rows)} rows of this call instead of one")
    return rows[0]


def _filled(path: str) -> str:
    return "/".join("nothing" if part.startswith("{") else part for part in path.split("/"))
