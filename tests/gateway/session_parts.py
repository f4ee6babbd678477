"""A call of a legacy client in its session, and the stream on which it is answered."""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.model.call import Client, Redacted
from tests.gateway.parts import allowed, authenticated, identified, redact_request, routed

ABLE: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}


class Stream:
    """The open answer of a client: what it was told."""

    def __init__(self, *, hears: bool = True) -> None:
        self.hears = hears
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.calls: list[Redacted] = []
        self.entered: list[tuple[str, str]] = []

    def enter(self, session: str, version: str) -> None:
        self.entered.append((session, version))

    def belongs(self, call: Redacted) -> None:
        self.calls.append(call)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params))

    def request(self, id: str, method: str, params: dict[str, Any]) -> None:
        self.asked.append(id)
        self.told.append((method, params))


class Rows:
    """The part of the record that questions need."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, bool]] = []

    async def asked(self, call: Redacted, action: str, reason: str, metadata: dict[str, Any]) -> None:
        del call
        self.rows.append((action, reason, "denied" in metadata))


def in_session(
    session: str = "s",
    *,
    stream: Stream | None = None,
    capabilities: dict[str, Any] | None = None,
    **more: Any,
) -> Redacted:
    """A call that may be sent."""
    caller = authenticated()
    caller = msgspec.structs.replace(caller, inbound=msgspec.structs.replace(caller.inbound, stream=stream))
    can = ABLE if capabilities is None else capabilities
    client = Client(version="2025-11-25", modern=False, capabilities=can, session=session, **more)
    return redact_request()(allowed(routed(identified(caller=caller, client=client))))
