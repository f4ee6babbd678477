"""The one place where an error becomes an answer, and a line in the log.

Every answer to a known caller carries the request id, which also stands in the audit row and the log
line. What goes out is the text and data of the refusal; details of a fault stay in the log.
"""

from __future__ import annotations

from typing import Protocol

from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.config import Config, DenialsSection
from airlock.core.errors import Fault, PolicyFault, Refused, Rejected, Unauthenticated
from airlock.gateway.reached import Governed
from airlock.gateway.words import DIFFERENTIALS, LIMITS
from airlock.identity import resources
from airlock.identity.challenge import challenge
from airlock.mcp import jsonrpc, refusals
from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Identified,
    Inbound,
    Reached,
    Redacted,
    Reply,
    Routed,
)

Failure = Refused | Fault


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Conceal(Protocol):
    """Raises the answer for an unknown tool where policy hides the refused one from this caller."""

    def __call__(self, reached: Reached, failure: Failure) -> None: ...


USUAL = DenialsSection()
"""Everything is told, and refused calls are results."""

LINES = 100
"""Lines a second about strangers and about limits: whoever asks without end does not fill the log."""


class Problems:
    """Explains failures to callers."""

    def __init__(
        self,
        *,
        public_url: str,
        conceal: Conceal,
        clock: Clock,
        log: Logger,
        denials: DenialsSection = USUAL,
    ) -> None:
        self._denials = denials
        self._public_url = public_url
        self._conceal = conceal
        self._clock = clock
        self._log = log
        self._second = 0
        self._lines = 0
        self._withheld = 0

    def reload(self, config: Config) -> None:
        """Take over how another configuration tells of refusals."""
        self._denials = config.denials

    def explain(self, reached: Reached | None, failure: Failure) -> Reply:
        """The answer for a failure at this point of the way."""
        inbound, identified = _seen(reached)
        if isinstance(failure, Unauthenticated):
            metrics.auth_failed(failure.reason)
        known = isinstance(reached, Governed) and failure.reason not in LIMITS
        if known or isinstance(failure, Fault) or self._audible():
            self._note(inbound, _server(reached), failure)
        if reached is not None:
            try:
                self._conceal(reached, failure)
            except (Refused, PolicyFault) as heard:
                failure = heard
        if isinstance(failure, Unauthenticated):
            return self._challenge(inbound, failure)
        if isinstance(failure, Rejected):
            request_id = failure.request_id if identified is None else identified.id
            body = jsonrpc.error(request_id, failure.code, failure.text, failure.data)
            return Reply(body=body, status=failure.http, headers=failure.headers, is_error=True)
        return self._refused(inbound, identified, failure)

    def _challenge(self, inbound: Inbound | None, refused: Unauthenticated) -> Reply:
        resource = resources.resource(self._public_url, inbound.server if inbound else "")
        return Reply(
            body=jsonrpc.error(None, refused.code, refused.text),
            status=refused.http,
            headers=(("www-authenticate", challenge(refused, resource)),),
            is_error=True,
        )

    def _refused(self, inbound: Inbound | None, identified: Identified | None, failure: Failure) -> Reply:
        told = refusals.refusal(
            failure,
            decision_id=inbound.request_id if inbound else "",
            now=self._clock.wall(),
            incident_id=failure.incident if isinstance(failure, Refused) else "",
            policy_revision=identified.caller.snapshot.policy_revision if identified else "",
        )
        if self._denials.disclosure == "minimal":
            told = refusals.minimal(told)
        headers = (("retry-after", str(told.retry_after)),) if told.retry_after is not None else ()
        if refusals.is_blocked(failure):
            headers = (("connection", "close"),)
        method = identified.message.method if identified else ""
        read = failure.request_id if isinstance(failure, Refused) else None
        request_id = identified.id if identified else read
        form = refusals.form(failure, method)
        if request_id is not None and form == "tool_error" and self._shown_to_models(inbound):
            modern = identified is not None and identified.client.modern
            body = jsonrpc.result(request_id, refusals.tool_error(told, modern=modern))
        else:
            error = refusals.rpc_error(told)
            data = None if form == "http" else error["data"]
            body = jsonrpc.error(request_id, error["code"], error["message"], data)
        return Reply(
            body=body,
            status=refusals.http_status(failure),
            headers=headers,
            is_error=True,
            contained=refusals.is_contained(failure),
        )

    def _shown_to_models(self, inbound: Inbound | None) -> bool:
        """Whether a refused call is told as a result on this route, and not as an error."""
        denials = self._denials
        if denials.tools_call == "tool_error" or inbound is None:
            return True
        return bool(denials.routes) and inbound.route not in denials.routes

    def _note(self, inbound: Inbound | None, server: str, failure: Failure) -> None:
        """One line per failure; the only ones with a source address are those that operators search by it."""
        fields: dict[str, object] = {
            "correlation_id": inbound.request_id if inbound else "",
            "stage": failure.stage.value,
            "reason": failure.reason,
            "code": failure.code,
        }
        if isinstance(failure, Fault):
            event = {
                "upstream_timeout": "upstream_timeout",
                "upstream_unavailable": "upstream_error",
                "upstream_protocol_error": "upstream_error",
            }.get(failure.reason, "request_failed")
            named = {"server": server} if server else {}
            self._log.error(event, detail=failure.detail, effect=failure.effect.value, **named, **fields)
        elif isinstance(failure, Unauthenticated):
            source = inbound.source_ip if inbound else ""
            named = {name: failure.about[name] for name in ("iss", "kid", "aud") if name in failure.about}
            self._log.warning("auth_failure", source_ip=source, **named, **fields)
            if failure.about:
                self._log.info("jwt_invalid", **failure.about, **fields)
        elif failure.reason in SECURITY:
            self._log.warning("security_violation", source_ip=inbound.source_ip if inbound else "", **fields)
        else:
            self._log.info("policy_decision" if failure.code == 40301 else "request_refused", **fields)

    def _audible(self) -> bool:
        """Whether one more such line may be said in this second; how many were not is said."""
        second = int(self._clock.monotonic())
        if second != self._second:
            withheld, self._second, self._lines, self._withheld = self._withheld, second, 0, 0
            if withheld:
                self._log.warning("lines_withheld", count=withheld)
        self._lines += 1
        self._withheld += self._lines > LINES
        return self._lines <= LINES


SECURITY = DIFFERENTIALS | {
    "header_mismatch",
    "cross_tenant_attempt",
    "session_unknown",
    "session_hijack_attempt",
}
"""Reasons that no well-behaved client causes."""


def _seen(reached: Reached | None) -> tuple[Inbound | None, Identified | None]:
    """What is known of the message at this point."""
    reached = _unwrapped(reached)
    if isinstance(reached, Routed):
        reached = reached.identified
    if isinstance(reached, Identified):
        return reached.caller.inbound, reached
    return reached.inbound if isinstance(reached, Authenticated) else reached, None


def _server(reached: Reached | None) -> str:
    """The server that the message is for; empty while that is not known."""
    reached = _unwrapped(reached)
    return reached.server.entry.name if isinstance(reached, Routed) else ""


def _unwrapped(reached: Reached | None) -> Inbound | Authenticated | Identified | Routed | None:
    """What was known before anybody decided."""
    if isinstance(reached, Redacted):
        return reached.allowed.admitted.routed
    if isinstance(reached, Allowed):
        return reached.admitted.routed
    return reached.routed if isinstance(reached, Admitted) else reached
