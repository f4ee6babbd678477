"""The two families of errors, and nothing else.

`Refused` is expected: somebody may not do this, or asked for it in a wrong way. Its text is safe for
the caller. `Fault` is ours or an upstream's: the caller learns that it happened, not why.
Whatever cannot decide raises; nothing here turns "unknown" into "yes".

Codes and words: `docs/errors.md`, and JSON-RPC 2.0 section 5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Where on the way of a call something happened; the word in log, audit row and metric."""

    EDGE = "edge"
    AUTHENTICATE = "authenticate"
    RESOLVE = "resolve"
    ADMIT = "admit"
    AUTHORIZE = "authorize"
    REDACT = "redact"
    RECORD = "record"
    FORWARD = "forward"


class Effect(StrEnum):
    """Whether an upstream may have acted on a call that was not answered normally."""

    NONE = "none"
    POSSIBLE = "possible"


class Refused(Exception):
    """An expected refusal. `reason` is the stable word of audit rows; `text` may be shown to the caller.

    `code` is one of the 4xxxx codes of `docs/errors.md`. `lease` is the lease behind it, for the record;
    `incident` may be shown to the caller. `request_id` is the JSON-RPC id where it could be read.
    """

    def __init__(
        self,
        stage: Stage,
        code: int,
        reason: str,
        text: str,
        *,
        policy_reason: str | None = None,
        scope: dict[str, str] | None = None,
        expires_at: float | None = None,
        retry_after: int | None = None,
        effect: Effect = Effect.NONE,
        lease: str = "",
        incident: str = "",
        request_id: str | int | None = None,
    ) -> None:
        super().__init__(text)
        self.stage = stage
        self.code = code
        self.reason = reason
        self.text = text
        self.policy_reason = policy_reason
        self.scope = scope
        self.expires_at = expires_at
        self.retry_after = retry_after
        self.effect = effect
        self.lease = lease
        self.incident = incident
        self.request_id = request_id
        self.judged: object = None
        """Of a refusal by policy: the question that it answered, for the record (`model.call.Allowed`)."""


class Rejected(Refused):
    """A message that is no proper request: HTTP status and JSON-RPC code (-32xxx) of the standards.

    `data` becomes `error.data`.
    """

    def __init__(
        self,
        http: int,
        code: int,
        reason: str,
        text: str,
        *,
        data: dict[str, object] | None = None,
        stage: Stage = Stage.EDGE,
        headers: tuple[tuple[str, str], ...] = (),
        request_id: str | int | None = None,
    ) -> None:
        super().__init__(stage, code, reason, text, request_id=request_id)
        self.http = http
        self.data = data
        self.headers = headers


class Unauthenticated(Refused):
    """No credential, a bad one (401), or one that lacks scopes (403): answered with a challenge.

    `error` is the RFC 6750 or RFC 9470 word (None: no credential was sent); `scopes`, `acr_values` and
    `max_age` (seconds) are what the operation needs. `about` is for the log: what the token says of itself.
    `claimed` is the subject that it names: only counted, never written down, for nobody has verified it.
    """

    def __init__(
        self,
        http: int,
        reason: str,
        text: str,
        *,
        error: str | None = None,
        scopes: tuple[str, ...] = (),
        acr_values: tuple[str, ...] = (),
        max_age: int | None = None,
    ) -> None:
        super().__init__(Stage.AUTHENTICATE, -32600, reason, text)
        self.http = http
        self.error = error
        self.scopes = scopes
        self.acr_values = acr_values
        self.max_age = max_age
        self.about: dict[str, object] = {}
        self.claimed = ""


class Fault(Exception):
    """Ours or an upstream's failure. `detail` goes to the log, only `text` to the caller.

    `code` is one of the 5xxxx codes (or 40901) of `docs/errors.md`.
    """

    def __init__(
        self,
        stage: Stage,
        code: int,
        reason: str,
        text: str,
        *,
        detail: str = "",
        effect: Effect = Effect.NONE,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{text} ({detail})" if detail else text)
        self.stage = stage
        self.code = code
        self.reason = reason
        self.text = text
        self.detail = detail
        self.effect = effect
        self.retry_after = retry_after


class UpstreamFault(Fault):
    """An MCP server failed us. `effect` is NONE only where it is proven that it did not run the request."""

    def __init__(
        self,
        code: int,
        reason: str,
        text: str,
        *,
        detail: str = "",
        effect: Effect,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(
            Stage.FORWARD, code, reason, text, detail=detail, effect=effect, retry_after=retry_after
        )

    @classmethod
    def protocol(cls, detail: str, *, effect: Effect = Effect.POSSIBLE) -> Self:
        return cls(
            50201,
            "upstream_protocol_error",
            "The server answered with something that is not MCP.",
            detail=detail,
            effect=effect,
        )

    @classmethod
    def unavailable(cls, detail: str, *, effect: Effect, retry_after: int | None = None) -> UpstreamFault:
        return cls(
            50301,
            "upstream_unavailable",
            "The server cannot be reached.",
            detail=detail,
            effect=effect,
            retry_after=retry_after,
        )

    @classmethod
    def timeout(cls, detail: str, *, effect: Effect) -> UpstreamFault:
        return cls(
            50401,
            "upstream_timeout",
            "The server did not answer in time.",
            detail=detail,
            effect=effect,
        )


class LoginNeeded(UpstreamFault):
    """The caller has to log in at the server, or to log in there again with more scopes. Nothing was run."""

    def __init__(self, server: str, *, scopes: tuple[str, ...] = (), detail: str) -> None:
        """`scopes`: what the server wants in addition, where it says so."""
        super().__init__(
            50301,
            "link_required",
            "The server wants to know who you are: log in there first.",
            detail=detail,
            effect=Effect.NONE,
        )
        self.server = server
        self.scopes = scopes


class LinkRefused(Refused):
    """A login at a server that is not begun, or not believed. `detail` is for the log."""

    def __init__(self, reason: str, text: str, *, detail: str = "") -> None:
        super().__init__(Stage.AUTHENTICATE, 40305, reason, text)
        self.detail = detail


class AuditFault(Fault):
    """A record could not be made durable: nothing may be sent or answered that needed it."""

    def __init__(self, detail: str, *, effect: Effect = Effect.NONE) -> None:
        super().__init__(
            Stage.RECORD,
            50303,
            "audit_unavailable",
            "The call cannot be recorded, so it is not carried out.",
            detail=detail,
            effect=effect,
            retry_after=5,
        )


class PolicyFault(Fault):
    """Policy could not decide: that denies (50302)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(
            Stage.AUTHORIZE,
            50302,
            reason,
            "Policy cannot decide at the moment, so the answer is no.",
            detail=detail,
        )


class ConfigError(ValueError):
    """Configuration that cannot be used: `where` (file:line or variable), `what`, and the way out.

    `problems` holds every single complaint; an error with one holds itself.
    """

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        super().__init__(f"{where}: {what}" + (f" ({hint})" if hint else ""))
        self.where = where
        self.what = what
        self.hint = hint
        self.problems: tuple[ConfigError, ...] = (self,)

    @staticmethod
    def together(problems: Sequence[ConfigError]) -> ConfigError:
        """One error for at least one problem: its text has a line for each."""
        first = problems[0]
        error = ConfigError(first.where, first.what, first.hint)
        error.args = ("\n".join(str(problem) for problem in problems),)
        error.problems = tuple(problems)
        return error
