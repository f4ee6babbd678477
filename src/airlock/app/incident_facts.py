"""Gathers what is true outside of a record when a step of it is decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airlock.incident.containment import WATCHING
from airlock.incident.occasion import Facts, HeldLease, Verification
from airlock.incident.severity import DAY
from airlock.incident.verification import CHECKS
from airlock.incident.watching import WATCH
from airlock.model.evidence import Bundle
from airlock.model.incident import Incident, Recorded
from airlock.model.lease import RULES, Lease
from airlock.store import bundles, incident_facts, incidents
from airlock.store.database import Store

REPEATED = 30 * DAY
"""How far back another incident of the same type makes one repeated."""


def gather(store: Store, incident: Incident, now: float, *, data: Path) -> Facts:
    """The facts about an incident at this time. `data`: where its bundles are. Blocks: several reads."""
    timeline = incidents.timeline(store, incident.id)
    given = incident_facts.leases_of(store, incident.id, now=now)
    begun = max(incident.opened_at, incident.clocks_from)  # what came before counts no more
    watched = incident_facts.leases_since(store, "monitoring.enhance", since=begun, now=now)
    watched = [lease for lease in watched if lease.incident in ("", incident.id)]
    kept = bundles.of(store, incident.id)
    return Facts(
        verification=_verified(timeline, incident),
        grants=incident_facts.grants_of(store, incident.id, now=now),
        uncounted=incident_facts.uncounted(store, incident.id),
        debt=incident_facts.debt_of(store, incident.id),
        leases=tuple(_held(lease, incident) for lease in given if _counts(lease, now)),
        monitoring_until=_watched_until(watched),
        containments=sum(lease.action not in WATCHING for lease in given),
        evidence=tuple(dict.fromkeys(ref for each in timeline for ref in each.event.refs)),
        events=len(timeline),
        bundle_sealed=any(bundle.state == "sealed" for bundle in kept),
        bundle_verified=bundles.sealed(store, incident.id) and any(_stands(data, each) for each in kept),
        repeated=_repeated(store, incident),
    )


def _stands(data: Path, bundle: Bundle) -> bool:
    """Whether a sealed bundle that was whole when it was verified is where it was closed: with the same
    manifests, and every file in them."""
    from airlock.incident.evidence.bag import PAYLOAD
    from airlock.incident.evidence.report import FOLDER
    from airlock.incident.evidence.verify_bundle import TAGS, Wrong, manifest, sha256

    if bundle.state != "sealed" or not bundle.whole:
        return False
    bag = data / FOLDER / bundle.id
    try:
        same = sha256(bag / TAGS) == bundle.digest and sha256(bag / PAYLOAD) == manifest(bag / TAGS)[PAYLOAD]
        return same and all((bag / name).is_file() for name in manifest(bag / PAYLOAD))
    except (OSError, ValueError, LookupError, Wrong):
        return False


def _verified(timeline: Sequence[Recorded], incident: Incident) -> Verification | None:
    """After the mitigation, and since it was last opened: a time of the mitigation is what somebody said."""
    since = incident.mitigated_at
    return verification(timeline, None if since is None else max(since, incident.clocks_from))


def verification(timeline: Sequence[Recorded], since: float | None) -> Verification | None:
    """The newest verification after the mitigation; None where none was run since.

    Each of its checks is a `verification_run` event whose details are `{"check": "e2e", "passed": true}`; of
    several the newest counts."""
    newest: dict[str, bool] = {}
    at = 0.0
    for each in timeline:
        event = each.event
        if event.kind == "verification_run" and since is not None and event.occurred_at >= since:
            newest[str(event.details.get("check", ""))] = event.details.get("passed") is True
            at = event.occurred_at
    if not newest:
        return None
    return Verification(at=at, red=tuple(check for check in CHECKS if not newest.get(check, False)))


def _counts(lease: Lease, now: float) -> bool:
    """Whether somebody has to answer for a lease: it holds, contains something, and could be taken back."""
    return lease.holds(now) and lease.action not in WATCHING and RULES[lease.action].longest is not None


def _held(lease: Lease, incident: Incident) -> HeldLease:
    by_people = lease.actor if lease.origin in ("api", "cli", "config", "registry") else ""
    owner = incident.owners.get(lease.id, by_people)
    ends = lease.expires_at is not None or lease.origin == "registry"  # a server that a person switched off
    return HeldLease(id=lease.id, action=lease.action, owner=owner, ends=ends)


def _watched_until(leases: Sequence[Lease]) -> float | None:
    """Until when it is watched, where that lasts long enough and nobody took it back."""
    found = [
        lease.expires_at
        for lease in leases
        if lease.state != "released"
        and lease.expires_at is not None
        and lease.expires_at - lease.created_at >= WATCH
    ]
    return max(found, default=None)


def _repeated(store: Store, incident: Incident) -> bool:
    return any(
        other.type == incident.type
        and other.id != incident.id
        and other.status not in ("CANCELLED", "MERGED")
        and incident.opened_at - REPEATED <= other.opened_at <= incident.opened_at
        for other in incidents.listing(store, include_ended=True)
    )
