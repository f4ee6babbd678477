"""The question to policy: built from verified facts, encoded once.

Nothing here reads a header, `_meta` or what a server says of itself: the caller hands in the principal of
the credential and the target as an operator approved it. Every key is always present and typed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.model.decision import ContextInput, PolicyInput, SubjectInput, TargetInput, TimeInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airlock.model.principal import Principal
    from airlock.model.server import Item

WEEKDAYS: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = (
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
)

_encode = msgspec.json.Encoder().encode


def target_of(item: Item, uri: str = "") -> TargetInput:
    """The target of a question about what a server offers; `uri` is what is read, or the template itself."""
    return TargetInput(
        kind=item.kind,
        server=item.server,
        name=item.name,
        uri=uri,
        tenant=item.tenant,
        sensitivity=item.sensitivity,
        read_only=item.read_only,
        definition_digest=item.digest,
        approved=item.pin == "pinned",
        tags=item.tags,
        owner=item.owner,
    )


def build(
    *,
    principal: Principal,
    target: TargetInput,
    phase: Literal["list", "call"],
    action: str,
    arguments: Mapping[str, Any],
    source_ip: str,
    era: str,
    route: str,
    now: float,
    session_labels: tuple[str, ...] = (),
    risk: tuple[str, ...] = (),
) -> PolicyInput:
    """The whole `input`. `now` is Unix seconds; with `phase: list` the arguments are left out."""
    subject = SubjectInput(
        id=principal.subject,
        issuer=principal.issuer,
        tenant=principal.tenant,
        roles=principal.roles,
        groups=principal.groups,
        scopes=principal.scopes,
        client_id=principal.client_id,
        auth=principal.auth,
        auth_age_s=None if principal.auth_time is None else max(0, int(now) - principal.auth_time),
        actor=principal.actor,
    )
    return PolicyInput(
        phase=phase,
        subject=subject,
        action=action,
        target=target,
        arguments=dict(arguments) if phase == "call" else {},
        context=ContextInput(
            source_ip=source_ip,
            era=era,
            route=route,
            time=_moment(int(now // 60)),
            session_labels=session_labels,
            risk=risk,
        ),
    )


def encode(question: PolicyInput) -> bytes:
    """The bytes that the engine reads and the audit log keeps: compact JSON in the order of the Struct."""
    return _encode(question)


def schema() -> dict[str, Any]:
    """JSON Schema of `input`, for editors and for the documentation."""
    return msgspec.json.schema(PolicyInput)


@lru_cache(maxsize=4)
def _moment(minute: int) -> TimeInput:
    """The parts of one minute since 1970, UTC. Remembered, because thousands of calls share a minute."""
    moment = datetime.fromtimestamp(minute * 60, UTC)
    return TimeInput(
        hour=moment.hour,
        minute=moment.minute,
        weekday=WEEKDAYS[moment.weekday()],
        date=moment.date().isoformat(),
        zone="UTC",
    )
