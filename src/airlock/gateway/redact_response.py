"""Stage 7: the answer in the client's shape, less what may not leave, no larger than it may be.

1 the shape of the client's era: whatever leaves is looked at, also what the gateway added for the server
2 take out what is configured and what policy demands: where a grant let the call pass that policy was not
  asked about, whatever it could demand
3 structured content still fits the schema that the tool declares, or is left out, which is said
4 URIs as the route has them
5 no larger than policy, leases and the gateway allow

Leases can demand more of an answer than policy did when the call began: they are asked when it is there, and
for each message of a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airlock.core.errors import Effect, Refused, UpstreamFault
from airlock.gateway import cap, federate
from airlock.gateway.answer import server_info
from airlock.gateway.asking import Asking
from airlock.gateway.channels import Cleaner
from airlock.gateway.fit import Fit
from airlock.gateway.lifetime import Lifetime
from airlock.gateway.redact import Redactors
from airlock.gateway.restrict import Strength, as_configured, withheld
from airlock.mcp import eras, jsonrpc, results, rounds
from airlock.mcp.jsonrpc import Id
from airlock.mcp.rounds import Requests
from airlock.mcp.strict import is_array, is_object
from airlock.model.call import Redacted, Reply
from airlock.model.lease import Lease
from airlock.model.server import Item
from airlock.model.upstream import Park, UpstreamAnswer
from airlock.redaction.detectors import NAMES

WITHHELD = (
    "[The structured content of this result is left out: what was taken out of it leaves a hole that the "
    "tool's output schema does not allow.]"
)

CACHEABLE = frozenset({"resources/read"})
"""Calls whose results a modern client may keep, where the server says so."""

DROPPED = "[The content of this result is left out: it holds what may not leave at the moment.]"

Notice = Callable[[dict[str, Any]], dict[str, Any]]
"""From the params of a notification to those that may leave."""

Sealed = Callable[[Redacted, str | None, Park | None], str]
"""From what a server, or the gateway, wants back in the next round to what its client carries."""


class RedactResponse:
    """The stage, and the same for the notifications that come before the answer."""

    def __init__(
        self,
        *,
        redactors: Redactors,
        fit: Fit,
        asking: Asking,
        sealed: Sealed,
        lifetime: Lifetime,
        strength: Callable[[Redacted], Strength] = as_configured,
    ) -> None:
        """`strength` says what leases demand of an answer by now."""
        self._asking = asking
        self._sealed = sealed
        self._lifetime = lifetime
        self._redactors = redactors
        self._fit = fit
        self._strength = strength

    def __call__(self, call: Redacted, answer: UpstreamAnswer) -> Reply:
        """The reply in the client's shape. Raises `Fault` where the result may not or cannot be passed on,
        `Refused` where a lease keeps it back."""
        identified = call.allowed.admitted.routed.identified
        strength = self._strength(call)
        demanded = _least(call.allowed.decision.obligations.max_result_bytes, strength.max_bytes)
        client, request_id = identified.client, identified.id
        if answer.error is not None:
            return self._error(
                call, answer, answer.error, id=request_id, demanded=demanded, strength=strength
            )
        result = answer.result
        if result is None or request_id is None:
            raise UpstreamFault.protocol("neither result nor error")
        if result.get("resultType", "complete") != "complete":
            return self._question(call, answer, result, id=request_id)
        result = results.without_ours(result)
        cacheable = identified.message.method in CACHEABLE
        shaped = (  # 1
            results.to_modern(
                result,
                server_info=server_info(identified),
                cacheable=cacheable,
                ttl_ms=self._lifetime.at_most(identified) if cacheable else 0,
                untold_ms=0,
            )
            if client.modern
            else results.to_legacy(result, client.version)
        )
        before = 0 if strength.lease is None else _taken_out(call)
        shaped = self._clean(call, shaped, strength)  # 2, 3
        if strength.lease is not None and _taken_out(call) > before:
            shaped = _less_still(call, shaped, strength.mode, strength.lease)
        shaped = _placed(call, result, shaped)  # 4
        body = cap.bounded(request_id, shaped, demanded)  # 5
        return Reply(body=body, is_error=shaped.get("isError") is True, upstream_bytes=answer.size)

    def asked(self, call: Redacted, requests: Requests) -> Requests:
        """What a server asks of the client of a call, as the client may hear it. Raises `UpstreamFault` for
        what the client cannot do, `Refused` for what may not be asked."""
        strength, before = self._strength(call), _taken_out(call)
        less = self._asking(call, requests, self._cleaner(call, strength))
        if strength.lease is not None and strength.mode != "mask" and _taken_out(call) > before:
            raise _kept_back(call, strength.lease)
        return less

    def _question(self, call: Redacted, answer: UpstreamAnswer, result: dict[str, Any], *, id: Id) -> Reply:
        """What a server wants to know before it answers a modern client."""
        identified = call.allowed.admitted.routed.identified
        carried = identified.message.method in rounds.CARRIERS and identified.client.modern
        if not carried or result["resultType"] != rounds.INPUT_REQUIRED or answer.era not in eras.MODERN:
            raise UpstreamFault.protocol("a result that is not complete, which was not asked for")
        needed = rounds.needed(result)
        shaped: dict[str, Any] = {"resultType": rounds.INPUT_REQUIRED}
        if needed.requests:
            asked = needed.requests if answer.park else self.asked(call, needed.requests)
            shaped["inputRequests"] = asked
        if needed.state is not None or answer.park is not None:
            shaped[rounds.STATE] = self._sealed(call, needed.state, answer.park)
        shaped = results.to_modern(shaped, server_info=server_info(identified), cacheable=False)
        body = jsonrpc.result(id, shaped)
        if not cap.fits(body, None):
            raise cap.too_large(None)
        return Reply(body=body, asks=True, upstream_bytes=answer.size)

    def logged(self, call: Redacted, params: dict[str, Any]) -> dict[str, Any] | None:
        """The params of a log message of a call's server, less what may not leave; None: all of it."""
        strength = self._strength(call)
        cleaner, before = self._cleaner(call, strength), _taken_out(call)
        less = params if cleaner is None else cleaner.value(params)
        return None if strength.mode != "mask" and _taken_out(call) > before else less

    def notices(self, call: Redacted) -> Notice:
        """For the progress notifications of one call, in their order. Where leases come or go meanwhile, a
        secret that is cut in two by that moment is looked for in each half."""
        looked: tuple[tuple[str, ...], Notice] | None = None

        def noticed(params: dict[str, Any]) -> dict[str, Any]:
            nonlocal looked
            strength = self._strength(call)
            if looked is None or looked[0] != strength.patterns:
                cleaner = self._cleaner(call, strength)
                looked = strength.patterns, (_unchanged if cleaner is None else cleaner.progress())
            before = _taken_out(call)
            less = looked[1](params)
            if strength.mode != "mask" and _taken_out(call) > before:
                return {key: value for key, value in less.items() if key != "message"}
            return less

        return noticed

    def _error(
        self,
        call: Redacted,
        answer: UpstreamAnswer,
        said: dict[str, Any],
        *,
        id: Id | None,
        demanded: int | None,
        strength: Strength,
    ) -> Reply:
        routed = call.allowed.admitted.routed
        client = routed.identified.client
        error = results.map_error(
            said,
            client_modern=client.modern,
            upstream_modern=answer.era in eras.MODERN,
            method=routed.identified.message.method,
            uri=routed.uri,
        )
        cleaner, before = self._cleaner(call, strength), _taken_out(call)
        if cleaner is not None:
            told = {key: value for key, value in error.items() if key != "code"}
            error = {**error, **cleaner.value(told)}
        if strength.lease is not None and strength.mode != "mask" and _taken_out(call) > before:
            raise _kept_back(call, strength.lease)
        if not routed.identified.caller.inbound.server:
            error = federate.error(routed.item.server, error)
        body = jsonrpc.error(id, error["code"], error["message"], error.get("data"))
        if not cap.fits(body, demanded):
            raise cap.too_large(demanded)
        status = results.error_status(error["code"], client_modern=client.modern)
        return Reply(body=body, status=status, is_error=True, upstream_bytes=answer.size)

    def _clean(self, call: Redacted, shaped: dict[str, Any], strength: Strength) -> dict[str, Any]:
        cleaner = self._cleaner(call, strength)
        if cleaner is None:
            return shaped
        less = cleaner.result(shaped)
        structured = shaped.get("structuredContent")
        if less is shaped or structured is None or less["structuredContent"] == structured:
            return less
        fitting = self._fitting(call.allowed.admitted.routed.item, structured, less["structuredContent"])
        if fitting is not None:
            return {**less, "structuredContent": fitting}
        call.found.withheld = True
        return _without_structure(less)

    def _fitting(self, tool: Item, original: Any, less: Any) -> Any:
        """The structured content in a form that fits the tool's schema; None where there is none."""
        for fill in (None, "[REDACTED]", ""):
            tried = less if fill is None else _filled(original, less, fill)
            if self._fit(tool, "outputSchema", tried):
                return tried
        return None

    def _cleaner(self, call: Redacted, strength: Strength) -> Cleaner | None:
        rules = self._redactors.rules
        policy = NAMES if call.allowed.grant else call.allowed.decision.obligations.redact
        redactor = rules.result((*policy, *strength.patterns))
        return None if redactor is None else Cleaner(rules, redactor, call.found)


def _placed(call: Redacted, said: dict[str, Any], shaped: dict[str, Any]) -> dict[str, Any]:
    """With the URIs of the route; the one that was read as it was asked for, whatever it looks like."""
    routed = call.allowed.admitted.routed
    if routed.uri:
        shaped = _as_read(routed.uri, said.get("contents"), shaped)
    if routed.identified.caller.inbound.server:
        return shaped
    return federate.result(routed.item.server, shaped)


def _as_read(uri: str, before: Any, shaped: dict[str, Any]) -> dict[str, Any]:
    contents = shaped.get("contents")
    if not (is_array(before) and is_array(contents)):
        return shaped
    read = [
        {**new, "uri": uri} if is_object(old) and old.get("uri") == uri else new
        for old, new in zip(before, contents, strict=True)
    ]
    return {**shaped, "contents": read}


def _unchanged(params: dict[str, Any]) -> dict[str, Any]:
    return params


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _taken_out(call: Redacted) -> int:
    """How much was taken out of the messages of a call so far."""
    return sum(call.found.counts.values())


def _less_still(call: Redacted, shaped: dict[str, Any], mode: str, lease: Lease) -> dict[str, Any]:
    """A result from which something was taken out, as this lease lets it pass. Raises `Refused` for none."""
    if mode == "mask":
        return shaped
    if mode == "block" or call.allowed.admitted.routed.item.kind != "tool":
        raise _kept_back(call, lease)
    call.found.withheld = "structuredContent" in shaped
    less = {key: value for key, value in shaped.items() if key != "structuredContent"}
    return {**less, "content": [{"type": "text", "text": DROPPED}], "isError": True}


def _kept_back(call: Redacted, lease: Lease) -> Refused:
    refused = withheld(call, lease)
    refused.effect = Effect.POSSIBLE
    return refused


def _without_structure(result: dict[str, Any]) -> dict[str, Any]:
    """An error of the tool, because clients hold any other result without structure for a broken one."""
    content: Any = result.get("content")
    blocks: list[Any] = content if is_array(content) else []
    less = {key: value for key, value in result.items() if key != "structuredContent"}
    return {**less, "content": [*blocks, {"type": "text", "text": WITHHELD}], "isError": True}


def _filled(original: Any, less: Any, fill: str) -> Any:
    """`less` with `fill` for every text that differs from the original's."""
    if is_object(less) and is_object(original):
        return {
            key: _filled(original[key], value, fill) if key in original else value
            for key, value in less.items()
        }
    if is_array(less) and is_array(original):
        return [_filled(old, new, fill) for old, new in zip(original, less, strict=True)]
    return fill if isinstance(less, str) and less != original else less
