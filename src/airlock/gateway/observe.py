"""Observe before enforce: where an operator asked for it, a refusal of policy or of a pin is only recorded.

Observing ends at a moment that the configuration names; from then on everything is enforced, whatever has
not been reloaded. It never reaches beyond policy and pins: credentials, tenants, containment, limits,
arguments that do not fit their schema, redaction and policies that cannot decide refuse as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config, ServerEntry
from airlock.core.errors import Refused
from airlock.model.call import Redacted, Reply
from airlock.model.health import State
from airlock.model.upstream import UpstreamAnswer

HEADER = "airlock-would-deny"
META = "dev.airlock/would-deny"
"""Where a reply says what enforcing would have said; a stream that has begun has only the second."""

OBSERVED = "observed"
"""Reason of the record of a call that policy would have refused."""

Observed = Callable[[ServerEntry, str], bool]
"""Whether calls of this tenant to this server are observed now."""

Answer = Callable[[Redacted, UpstreamAnswer], Reply]


def never(server: ServerEntry, tenant: str) -> bool:
    """Nothing is observed."""
    del server, tenant
    return False


class Observe:
    """What the configuration says of observing, asked anew for every call. Used on the event loop only."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self._clock = clock
        self.take_over(config)

    def take_over(self, config: Config) -> None:
        """Follow a configuration that has been validated."""
        self._tenants = frozenset(config.observe.tenants)
        self._servers = frozenset(entry.name for entry in config.servers if entry.mode == "observe")
        self._until = config.observe.until or 0.0

    def __call__(self, server: ServerEntry, tenant: str) -> bool:
        """Whether calls of this tenant to this server are observed now."""
        if server.name not in self._servers and tenant not in self._tenants:
            return False
        return self._clock.wall() < self._until

    def standing(self) -> tuple[State, str]:
        """State and reason of the component `policy`: a gateway that enforces only in part says so."""
        if not self._servers and not self._tenants:
            return "ok", ""
        end = rfc3339(self._until)
        if self._clock.wall() >= self._until:
            return "degraded", f"observing ended at {end}: everything is enforced"
        servers, tenants = len(self._servers), len(self._tenants)
        return "degraded", f"observing until {end}: {servers} servers and {tenants} tenants are not enforced"


def unmarked(servers: Sequence[ServerEntry]) -> tuple[ServerEntry, ...]:
    """The servers for those who reach them: a change of mode alone starts none again and cuts no call."""
    return tuple(msgspec.structs.replace(entry, mode="enforce") for entry in servers)


def would_deny(refused: Refused) -> str:
    """The stable words that enforcing would have recorded."""
    return f"{refused.reason}: {refused.policy_reason}" if refused.policy_reason else refused.reason


def told(stage: Answer) -> Answer:
    """The stage that makes replies, with the word of what would have been refused on those that passed."""

    def telling(call: Redacted, answer: UpstreamAnswer) -> Reply:
        reply = stage(call, answer)
        reason = call.allowed.would_deny
        return marked(reply, reason) if reason else reply

    return telling


def marked(reply: Reply, reason: str) -> Reply:
    """The reply with the header, and with the `_meta` of a result; an error has no place for it."""
    body = reply.body
    message = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "result" in message:
        result = msgspec.json.decode(message["result"], type=dict[str, msgspec.Raw])
        meta = msgspec.json.decode(result.get("_meta", b"{}"), type=dict[str, msgspec.Raw])
        said = {**meta, META: msgspec.Raw(msgspec.json.encode(reason))}
        result = {**result, "_meta": msgspec.Raw(msgspec.json.encode(said))}
        body = msgspec.json.encode({**message, "result": msgspec.Raw(msgspec.json.encode(result))})
    headers = (*reply.headers, (HEADER, reason))
    return msgspec.structs.replace(reply, body=body, headers=headers)
