"""What a lease would have done: the calls of a while ago, judged by the very index that judges live ones.

What a record does not hold cannot be judged and counts as unknown: how old a login was, how large arguments
were, what a further detector would have found. Rates are counted by the time of the record, which is near the
time of the call; the others are exact.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import get_args

import msgspec

from airlock.audit.past import Past
from airlock.core.units import Rate
from airlock.model.containment import Index, compiled
from airlock.model.deltas import delta
from airlock.model.lease import Action, Lease, Selector
from airlock.model.principal import Principal
from airlock.model.proposal import Prediction
from airlock.model.server import Item, Sensitivity

SAMPLE = 20
"""Ids of rows that a prediction names."""

TOOLS = 10
"""Tools that it names."""

Judge = Callable[[Past], bool | None]
"""Whether a call would have been refused; None: nobody can say."""

_names = msgspec.json.Decoder(tuple[str, ...]).decode


def predict(
    past: Sequence[Past],
    *,
    action: Action,
    selector: Selector,
    since: float,
    until: float,
    incident: frozenset[str] = frozenset(),
    truncated: bool = False,
) -> Prediction:
    """What this lease would have done to these calls. `incident`: ids of rows that belong to one."""
    judge = judge_of(action, selector)
    hit: list[Past] = []
    unknown = 0
    for call in past:
        flips = judge(call)
        if flips:
            hit.append(call)
        elif flips is None:
            unknown += 1
    tools = Counter(f"{call.server}/{call.tool}" for call in hit)
    return Prediction(
        since=since,
        until=until,
        requests=len(past),
        flipped=len(hit),
        sessions=len({call.session for call in hit if call.session}),
        users=len({(call.tenant, call.issuer, call.subject) for call in hit}),
        tenants=tuple(sorted({call.tenant for call in hit})),
        tools=tuple(sorted(tools.items(), key=lambda item: (-item[1], item[0]))[:TOOLS]),
        share=len(hit) / len(past) if past else 0.0,
        unknown=unknown,
        unknown_share=unknown / len(past) if past else 0.0,
        of_incident=sum(call.id in incident for call in hit),
        sample=tuple(call.id for call in hit[:SAMPLE]),
        truncated=truncated,
    )


def judge_of(action: Action, selector: Selector) -> Judge:
    """How one lease would have judged a call."""
    if action == "ratelimit.tighten":
        return _rates(action, selector)
    rule = _JUDGES.get(action)
    if rule is None:
        return lambda _: False
    lease = Lease(
        id="candidate", action=action, selector=selector, state="active", reason="", actor="", origin="api",
        created_at=0.0, expires_at=None, max_until=None, epoch=0,
    )  # fmt: skip
    index = compiled((lease,), epoch=0).index
    if index is None:
        raise RuntimeError("a lease makes an index")
    return lambda call: rule(index, selector, call)


def _address(index: Index, selector: Selector, call: Past) -> bool | None:
    return index.address(call.source_ip, 0.0) is not None if call.source_ip else None


def _subject(index: Index, selector: Selector, call: Past) -> bool | None:
    return index.subject(_who(call), 0.0) is not None if call.known else None


def _token(index: Index, selector: Selector, call: Past) -> bool | None:
    return call.token == selector.token if call.known else None


def _session(index: Index, selector: Selector, call: Past) -> bool | None:
    return call.session == selector.session if call.known else None


def _tenant(index: Index, selector: Selector, call: Past) -> bool | None:
    return index.tenant(call.tenant, 0.0) is not None


def _server(index: Index, selector: Selector, call: Past) -> bool | None:
    return index.server(call.server, 0.0) is not None


def _tool(index: Index, selector: Selector, call: Past) -> bool | None:
    return index.tool(_what(call), 0.0) is not None


def _denied(index: Index, selector: Selector, call: Past) -> bool | None:
    return _about("deny.overlay", index, selector, call)


def _step_up(index: Index, selector: Selector, call: Past) -> bool | None:
    """No record says when its caller signed in."""
    return False if _about("stepup.max_age", index, selector, call) is False else None


def _outward(index: Index, selector: Selector, call: Past) -> bool | None:
    about = _about(*_first(index), index, selector, call)
    if not about:
        return about
    if selector.allow and call.server not in selector.allow.split(","):
        return True
    if selector.result_bytes and call.result_bytes > int(selector.result_bytes):
        return True
    return None if selector.max_bytes else False


def _redaction(index: Index, selector: Selector, call: Past) -> bool | None:
    about = _about(*_first(index), index, selector, call)
    if not about:
        return about
    if selector.mode in ("drop", "block") and call.redacted:
        return True
    return None if selector.patterns else False


def _first(index: Index) -> tuple[str]:
    """Any setting of the lease: all of them are about the same calls."""
    return (next(iter(index.scoped)),)


def _about(setting: str, index: Index, selector: Selector, call: Past) -> bool | None:
    """Whether a lease for some calls is about this one."""
    if not call.known and (selector.subject or selector.issuer):
        return None
    return any(True for _ in index.over(setting, _who(call), _what(call), 0.0))


_JUDGES: Mapping[Action, Callable[[Index, Selector, Past], bool | None]] = {
    "ip.block": _address,
    "subject.suspend": _subject,
    "token.revoke": _token,
    "session.terminate": _session,
    "tenant.isolate": _tenant,
    "server.disable": _server,
    "tool.quarantine": _tool,
    "policy.deny_overlay": _denied,
    "stepup.require": _step_up,
    "egress.restrict": _outward,
    "redaction.strengthen": _redaction,
}
"""The others refuse no call."""


def _who(call: Past) -> Principal:
    return Principal(
        issuer=call.issuer,
        subject=call.subject,
        tenant=call.tenant,
        token_id=call.token,
        actor=_names(call.actor) if call.actor else (),
        expires_at=0,
    )


def _what(call: Past) -> Item:
    return Item(
        server=call.server, name=call.tool, alias="", definition={}, digest=call.digest,
        sensitivity=_SENSITIVE.get(call.sensitivity, "low"), read_only=False,
    )  # fmt: skip


_SENSITIVE: Mapping[str, Sensitivity] = {word: word for word in get_args(Sensitivity)}


def _rates(action: Action, selector: Selector) -> Judge:
    """A window that slides over the calls, which come in order; what is refused counts for nothing."""
    limits: Iterable[tuple[str, Rate]] = tuple(delta(action, selector).items())
    windows: dict[tuple[str, str], deque[float]] = {}

    def judge(call: Past) -> bool | None:
        about = _paced(selector, call)
        if not about:
            return about
        at, unsure = _at(call), False
        asked: list[tuple[deque[float], Rate]] = []
        for setting, rate in limits:
            key = _whose(selector, call) or _counted(setting, call)
            unsure = unsure or not key
            window = windows.setdefault((setting, key), deque())
            while window and window[0] <= at - rate.seconds:
                window.popleft()
            asked.append((window, rate))
        if any(len(window) >= rate.count for window, rate in asked):
            return None if unsure else True
        for window, _ in asked:
            window.append(at)
        return None if unsure else False

    return judge


def _paced(selector: Selector, call: Past) -> bool | None:
    """Whether a rate is about this call: that of a subject is about all of its calls together."""
    if selector.tenant and call.tenant != selector.tenant:
        return False
    if not selector.subject:
        return True
    if not call.known:
        return None
    caller = _who(call)
    named = selector.subject in (caller.subject, *caller.actor[:1])
    return named and selector.issuer in ("", caller.issuer)


def _whose(selector: Selector, call: Past) -> str:
    """The subject that a rate is about; empty where it is about all."""
    return "\0".join((call.tenant, call.issuer, selector.subject)) if selector.subject else ""


def _counted(setting: str, call: Past) -> str:
    """Who a rate counts by; empty where the record does not say."""
    if setting == "rate.per_tenant":
        return call.tenant
    if setting == "rate.per_token":
        return call.token
    if ":" not in call.source_ip:
        return call.source_ip
    return str(ipaddress.IPv6Network((int(ipaddress.IPv6Address(call.source_ip)) >> 64 << 64, 64)))


def _at(call: Past) -> float:
    return datetime.fromisoformat(call.timestamp).replace(tzinfo=UTC).timestamp()
