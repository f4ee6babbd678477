"""Numbers for monitoring: what is counted, and the one text that shows it.

Counting waits for nothing. Workers count into files of one directory (`DIRECTORY`, set by the supervisor
before this module is imported), so the answer of any worker is the sum of all. Labels are words of ours:
never a subject, a tenant, an address or a name that a caller made up.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of a worker's environment that names the directory."""

_own = CollectorRegistry()

_auth_failures = Counter(
    "airlock_auth_failures_total", "Credentials that did not count.", ["reason"], registry=_own
)
_redactions = Counter(
    "airlock_redactions_total", "Values that were replaced, by detector.", ["pattern"], registry=_own
)
_rate_limited = Counter(
    "airlock_rate_limited_total", "Requests refused by a limit.", ["limit"], registry=_own
)
_leases_active = Gauge(
    "airlock_leases_active",
    "Containment leases in force.",
    ["kind"],
    registry=_own,
    multiprocess_mode="mostrecent",
)
_jwks_refreshed = Gauge(
    "airlock_jwks_last_refresh_timestamp_seconds",
    "When keys were last fetched from the identity provider that was asked longest ago, Unix seconds.",
    registry=_own,
    multiprocess_mode="mostrecent",
)


def auth_failed(reason: str) -> None:
    """One credential did not count; `reason` is the stable word of the audit row."""
    _auth_failures.labels(reason).inc()


def redacted(pattern: str, n: int = 1) -> None:
    """`n` values were replaced that the detector `pattern` found."""
    _redactions.labels(pattern).inc(n)


def rate_limited(limit: str) -> None:
    """One request was refused by this limit, such as `per_token`."""
    _rate_limited.labels(limit).inc()


def leases_active(kind: str, n: int) -> None:
    """So many leases of this kind are in force, as this process sees it; 0 is said as well."""
    _leases_active.labels(kind).set(n)


def jwks_refreshed(at: float) -> None:
    """The oldest keys in use were fetched at this moment, Unix seconds; 0: keys are missing."""
    _jwks_refreshed.set(at)


def from_zero(
    *,
    reasons: Iterable[str] = (),
    patterns: Iterable[str] = (),
    limits: Iterable[str] = (),
) -> None:
    """Show these labels from the start: an alert on a rate needs the zero before the first event."""
    for metric, labels in (
        (_auth_failures, reasons),
        (_redactions, patterns),
        (_rate_limited, limits),
    ):
        for label in labels:
            metric.labels(label)


def exposition(directory: str = "") -> bytes:
    """Everything in the text format: of this process, or the sums of all that count in `directory`.

    Reads the files there: not for the event loop.
    """
    if not directory:
        return generate_latest(_own)
    everybody = CollectorRegistry()
    MultiProcessCollector(everybody, path=directory)
    return generate_latest(everybody)
