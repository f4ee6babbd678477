"""Traces of calls in OpenTelemetry, where `tracing.endpoint` names a receiver (OTLP over HTTP).

One span for each message, with an event as each stage ends, and below it one for what was sent to the server;
names and attributes are those of the conventions for MCP. The trace goes on that the client began (W3C Trace
Context, in `_meta` or the headers), and the server hears of our span, never of the client's state or baggage.
Attributes are words of ours: no argument, no result, no token, no subject, no address.

A receiver that is slow, dead or full costs spans, never a call (`spans`). Without `tracing.endpoint` none of
this is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from airlock.app.spans import Logger, Sending
from airlock.app.way import Way
from airlock.core.clock import Clock
from airlock.core.config import TracingSection
from airlock.core.errors import Fault, Refused
from airlock.gateway.pipeline import Pipeline
from airlock.gateway.pipeline import Record as Envelope
from airlock.gateway.reached import unfold
from airlock.gateway.words import METHODS
from airlock.mcp.strict import is_object
from airlock.model.call import Identified, Inbound, Reached, Redacted, Reply
from airlock.model.server import Item
from airlock.model.upstream import Notify, UpstreamAnswer

OPEN = 10_000
"""Messages that are followed at the same time; further ones leave no span."""

A = TypeVar("A")
R = TypeVar("R")
Failure = Refused | Fault


def follow(
    way: Way, section: TracingSection, *, clock: Clock, log: Logger
) -> tuple[Way, Callable[[], Coroutine[Any, Any, None]]]:
    """The way of a call, followed, and the work that sends what was seen."""
    sending = Sending(section, log=log)
    pipeline = Traces(sending.tracer, clock=clock).of(way.pipeline)
    return msgspec.structs.replace(way, pipeline=pipeline), sending.run


class _Followed:
    """One message that is under way: what happened before its span began, then the span."""

    __slots__ = ("events", "span", "started")

    def __init__(self, started: int) -> None:
        self.started = started
        self.events: list[tuple[str, int]] = []
        self.span: Span | None = None

    def happened(self, name: str, at: int) -> None:
        if self.span is None:
            self.events.append((name, at))
        else:
            self.span.add_event(name, timestamp=at)


class Traces:
    """Follows the messages of one worker. Used on its event loop, and by the thread that redacts."""

    def __init__(self, tracer: Tracer, *, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._open: dict[str, _Followed] = {}
        self._contexts = TraceContextTextMapPropagator()

    def of(self, pipeline: Pipeline) -> Pipeline:
        """The same pipeline, followed."""
        return msgspec.structs.replace(
            pipeline,
            authenticate=self._first(pipeline.authenticate),
            read=self._second(pipeline.read),
            permit=self._stage("permit", pipeline.permit),
            answer=self._answered(pipeline.answer),
            resolve=self._stage("resolve", pipeline.resolve),
            admit=self._stage("admit", pipeline.admit),
            authorize=self._stage("authorize", pipeline.authorize),
            redact_request=self._stage("redact_request", pipeline.redact_request),
            record=_FollowedRecord(self, pipeline.record),
            forward=self._sent(pipeline.forward),
            redact_response=self._last(pipeline.redact_response),
            measure=self._ended(pipeline.measure),
        )

    def happened(self, name: str, reached: Reached) -> None:
        """A stage of this message has ended, however."""
        way = self._open.get(inbound_of(reached).request_id)
        if way is not None:
            way.happened(name, self._now())

    def _now(self) -> int:
        return int(self._clock.wall() * 1e9)

    def _first(self, stage: Callable[[Inbound], R]) -> Callable[[Inbound], R]:
        followed = self._stage("authenticate", stage)

        def began(inbound: Inbound) -> R:
            if len(self._open) < OPEN:
                self._open[inbound.request_id] = _Followed(self._now())
            return followed(inbound)

        return began

    def _second(self, stage: Callable[[Any], Identified]) -> Callable[[Any], Identified]:
        followed = self._stage("read", stage)

        def read(caller: Any) -> Identified:
            identified = followed(caller)
            way = self._open.get(identified.caller.inbound.request_id)
            if way is not None:
                self._begin(way, self._parent(identified))
            return identified

        return read

    def _begin(self, way: _Followed, parent: Context | None) -> Span:
        way.span = self._tracer.start_span(
            "mcp", context=parent or Context(), kind=SpanKind.SERVER, start_time=way.started
        )
        for name, at in way.events:
            way.span.add_event(name, timestamp=at)
        return way.span

    def _parent(self, identified: Identified) -> Context | None:
        """The client's span, as the message says or else the headers; what is malformed is nothing."""
        meta = identified.message.params.get("_meta")
        said = meta.get("traceparent") if is_object(meta) else None
        said = said or identified.caller.inbound.headers.get("traceparent")
        return self._contexts.extract({"traceparent": said}, Context()) if isinstance(said, str) else None

    def _stage(self, name: str, stage: Callable[[A], R]) -> Callable[[A], R]:
        def followed(reached: Any) -> R:
            try:
                return stage(reached)
            finally:
                self.happened(name, reached)

        return followed

    def _answered(
        self, stage: Callable[[Identified, Notify], Awaitable[Reply]]
    ) -> Callable[[Identified, Notify], Awaitable[Reply]]:
        async def followed(identified: Identified, notify: Notify) -> Reply:
            try:
                return await stage(identified, notify)
            finally:
                self.happened("answer", identified)

        return followed

    def _last(
        self, stage: Callable[[Redacted, UpstreamAnswer], Reply]
    ) -> Callable[[Redacted, UpstreamAnswer], Reply]:
        def followed(call: Redacted, answer: UpstreamAnswer) -> Reply:
            try:
                return stage(call, answer)
            finally:
                self.happened("redact_response", call)

        return followed

    def _sent(
        self, stage: Callable[[Redacted, Notify], Awaitable[UpstreamAnswer]]
    ) -> Callable[[Redacted, Notify], Awaitable[UpstreamAnswer]]:
        async def followed(call: Redacted, notify: Notify) -> UpstreamAnswer:
            way = self._open.get(inbound_of(call).request_id)
            if way is None or way.span is None:
                return await stage(call, notify)
            item = call.allowed.admitted.routed.item
            span = self._tracer.start_span(
                f"{call.request.method} {item.own}",
                context=set_span_in_context(way.span, Context()),
                kind=SpanKind.CLIENT,
                start_time=self._now(),
                attributes={"mcp.method.name": call.request.method, **_of(item, item.own)},
            )
            try:
                answer = await stage(self._carrying(call, span), notify)
                span.set_attribute("mcp.protocol.version", answer.era)
                if answer.error is not None:
                    _failed(span, str(answer.error["code"]), str(answer.error["code"]))
            except (Refused, Fault) as failure:
                _failed(span, failure.reason, str(failure.code))
                raise
            finally:
                span.end(end_time=self._now())
            return answer

        return followed

    def _carrying(self, call: Redacted, span: Span) -> Redacted:
        """The call with our span as the one that the server's are part of."""
        carrier: dict[str, str] = {}
        self._contexts.inject(carrier, set_span_in_context(span, Context()))
        meta = {**call.request.params.get("_meta", {}), "traceparent": carrier["traceparent"]}
        request = msgspec.structs.replace(call.request, params={**call.request.params, "_meta": meta})
        return msgspec.structs.replace(call, request=request)

    def _ended(
        self, measure: Callable[[Reached, Reply | None, Failure | None], None]
    ) -> Callable[[Reached, Reply | None, Failure | None], None]:
        def ended(reached: Reached, reply: Reply | None, failure: Failure | None) -> None:
            measure(reached, reply, failure)
            way = self._open.pop(inbound_of(reached).request_id, None)
            if way is not None:
                span = way.span or self._begin(way, None)
                _describe(span, reached, reply, failure)
                span.end(end_time=self._now())

        return ended


class _FollowedRecord:
    """The audit envelope, followed."""

    def __init__(self, traces: Traces, record: Envelope) -> None:
        self._traces = traces
        self._record = record

    async def intend(self, call: Redacted) -> None:
        try:
            await self._record.intend(call)
        finally:
            self._traces.happened("intend", call)

    async def seal(self, call: Redacted, reply: Reply) -> None:
        try:
            await self._record.seal(call, reply)
        finally:
            self._traces.happened("seal", call)

    async def refuse(self, reached: Reached, failure: Failure) -> None:
        try:
            await self._record.refuse(reached, failure)
        finally:
            self._traces.happened("seal", reached)


def inbound_of(reached: Reached) -> Inbound:
    """The message as it came in."""
    return reached if isinstance(reached, Inbound) else unfold(reached)[0].inbound


def _describe(span: Span, reached: Reached, reply: Reply | None, failure: Failure | None) -> None:
    """What is said of a message: methods that exist, tools that were resolved, words of ours."""
    span.set_attribute("airlock.request_id", inbound_of(reached).request_id)
    span.set_attribute("http.response.status_code", 499 if reply is None else reply.status)
    if not isinstance(reached, Inbound):
        _, identified, routed, allowed, _ = unfold(reached)
        if identified is not None and identified.message.method in METHODS:
            method = identified.message.method
            span.update_name(f"{method} {routed.item.alias}" if routed else method)
            span.set_attribute("mcp.method.name", method)
            span.set_attribute("mcp.protocol.version", identified.client.version)
        if routed is not None:
            span.set_attributes(_of(routed.item, routed.item.alias))
        if allowed is not None:
            span.set_attribute("airlock.policy.revision", allowed.decision.revision)
    _conclude(span, reply, failure)


def _of(item: Item, name: str) -> dict[str, str]:
    said = {"airlock.server": item.server}
    if item.kind == "tool":
        said |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
    elif item.kind == "prompt":
        said["gen_ai.prompt.name"] = name
    return said


def _conclude(span: Span, reply: Reply | None, failure: Failure | None) -> None:
    """How it ended: a refusal is no error of ours."""
    if isinstance(failure, Fault):
        _failed(span, failure.reason, str(failure.code))
    elif failure is not None:
        span.set_attribute("error.type", failure.reason)
        span.set_attribute("rpc.response.status_code", str(failure.code))
    elif reply is None:
        span.set_attribute("error.type", "client_disconnected")
    elif reply.is_error:
        _failed(span, "tool_error", "")


def _failed(span: Span, kind: str, code: str) -> None:
    span.set_attribute("error.type", kind)
    if code:
        span.set_attribute("rpc.response.status_code", code)
    span.set_status(Status(StatusCode.ERROR))
