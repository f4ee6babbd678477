"""Numbers for monitoring: what is counted, and the one text that shows it.

Counting waits for nothing. Workers count into files of one directory (`DIRECTORY`, set by the supervisor
before this module is imported), so the answer of any worker is the sum of all. What happens on every call is
kept in memory and written there by `hand_over`. Labels are words of ours: never a subject, a tenant, an
address or a name that a caller made up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from airlock.core.noted import Counts, Durations
from airlock.core.settings import environment
from airlock.core.standing import Standing, Whole

CONTENT_TYPE = CONTENT_TYPE_LATEST

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of a worker's environment that names the directory."""

FILES = ("counter", "histogram", *(f"gauge_{mode}" for mode in (
    "livemax", "livemin", "livemostrecent", "livesum", "mostrecent",
)))  # fmt: skip
"""What a process counts in: one file for each of these, and its id."""

ROOM = 64 * 1024
"""Bytes of one file, some 500 series."""


def _take_room(directory: str) -> None:
    """Take the room of our files while there is some: they are written as memory, and a full disk would end
    a process that writes where a file has a hole."""
    for name in FILES:
        with suppress(OSError), Path(directory, f"{name}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)


_own = CollectorRegistry()
if DIRECTORY in environment():
    _take_room(environment()[DIRECTORY])


REQUEST = Durations("request", "From the head of a message to its reply, seconds.", _own)
AUTH = Durations("auth", "Checks of a token, seconds.", _own)
POLICY = Durations("policy", "Decisions of the policy about calls, seconds.", _own)
UPSTREAM = Durations("upstream", "Answers of MCP servers, seconds.", _own)
REDACTION = Durations("redaction", "Looks through one message, seconds.", _own)
AUDIT = Durations("audit", "Waits until one row of a call is durable, seconds.", _own)
STAGES = (REQUEST, AUTH, POLICY, UPSTREAM, REDACTION, AUDIT)

_requests = Counter(
    "airlock_requests_total", "MCP messages that were answered.", ["method", "status"], registry=_own
)
_decisions = Counter(
    "airlock_policy_decisions_total", "Decisions of the policy about calls.", ["decision"], registry=_own
)
REQUESTS, DECISIONS = Counts(_requests), Counts(_decisions)
"""By method and HTTP status; by decision."""

_requests_failed = Counter(
    "airlock_requests_failed_total", "MCP messages that failed by a fault, not by a refusal.", registry=_own
)
_up = Gauge("airlock_up", "1 while a worker runs.", registry=_own, multiprocess_mode="livemax")
_ready = Gauge(
    "airlock_ready",
    "0 where this part keeps a worker from serving calls.",
    ["component"],
    registry=_own,
    multiprocess_mode="livemin",
)
_tasks = Gauge(
    "airlock_tasks", "Tasks of the event loops of workers.", registry=_own, multiprocess_mode="livesum"
)
_audit_written = Counter("airlock_audit_written_total", "Records made durable.", registry=_own)
_audit_queue = Gauge(
    "airlock_audit_queue_depth",
    "Records that wait to be written.",
    registry=_own,
    multiprocess_mode="livesum",
)
_audit_age = Gauge(
    "airlock_audit_last_event_age_seconds",
    "Since the newest durable record.",
    registry=_own,
    multiprocess_mode="livemin",
)
_audit_free = Gauge(
    "airlock_audit_storage_free_bytes",
    "Free on the volume of the audit log.",
    registry=_own,
    multiprocess_mode="livemostrecent",
)

_auth_failures = Counter(
    "airlock_auth_failures_total", "Credentials that did not count.", ["reason"], registry=_own
)
_redactions = Counter(
    "airlock_redactions_total", "Values that were replaced, by detector.", ["pattern"], registry=_own
)
_rate_limited = Counter(
    "airlock_rate_limited_total", "Requests refused by a limit.", ["limit"], registry=_own
)
_fail_open = Gauge(
    "airlock_fail_open_active",
    "Whether a grant of two people lets read-only calls pass while policy answers nothing.",
    registry=_own,
    multiprocess_mode="livemax",
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
CACHE_HITS = Counts(
    Counter("airlock_policy_cache_hits_total", "Questions to policy answered from memory.", registry=_own)
)
CACHE_MISSES = Counts(
    Counter(
        "airlock_policy_cache_misses_total",
        "Questions to policy that could have been remembered and were asked.",
        registry=_own,
    )
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


def fail_open_active(active: bool) -> None:
    """Whether calls may fail open, as this process sees it."""
    _fail_open.set(int(active))


def jwks_refreshed(at: float) -> None:
    """The oldest keys in use were fetched at this moment, Unix seconds; 0: keys are missing."""
    _jwks_refreshed.set(at)


def request_failed() -> None:
    """One message was answered with a fault of ours or of a server."""
    _requests_failed.inc()


def up() -> None:
    """This process is a worker that runs."""
    _up.set(1)


def ready(component: str, *, serving: bool) -> None:
    """Whether calls may be served as far as this component goes."""
    _ready.labels(component).set(int(serving))


def audit_written(n: int) -> None:
    """`n` more records are durable."""
    _audit_written.inc(n)


def tasks(number: int) -> None:
    """So many run on the event loop of this worker."""
    _tasks.set(number)


def audit_stands(*, queue_depth: int, age: float | None, free: int | None) -> None:
    """How the log of this worker stands; `age` in seconds, `free` in bytes, None while unknown."""
    _audit_queue.set(queue_depth)
    if age is not None:
        _audit_age.set(max(0.0, age))
    if free is not None:
        _audit_free.set(free)


def decision_cached(hit: bool) -> None:
    """One question met the decision cache: answered from memory, or asked."""
    (CACHE_HITS if hit else CACHE_MISSES).note()


def from_zero(
    *,
    reasons: Iterable[str] = (),
    patterns: Iterable[str] = (),
    limits: Iterable[str] = (),
    methods: Iterable[str] = (),
    decisions: Iterable[str] = (),
) -> None:
    """Show these labels from the start: an alert on a rate needs the zero before the first event."""
    for metric, labels in (
        (_auth_failures, reasons),
        (_redactions, patterns),
        (_rate_limited, limits),
        (_decisions, decisions),
    ):
        for label in labels:
            metric.labels(label)
    for method in methods:
        _requests.labels(method, "200")


def hand_over() -> None:
    """Show what was noted since the last time. Called on the event loop, once a second and before it is
    shown."""
    for took in STAGES:
        took.hand_over()
    for happened in (REQUESTS, DECISIONS, CACHE_HITS, CACHE_MISSES):
        happened.hand_over()


def exposition(directory: str = "", standing: Standing | None = None) -> bytes:
    """Everything in the text format: of this process, or the sums of all that count in `directory`.

    Reads the files there: not for the event loop.
    """
    everybody = CollectorRegistry()
    if directory:
        MultiProcessCollector(everybody, path=directory)
    else:
        hand_over()
        everybody.register(_own)
    if standing is not None:
        everybody.register(Whole(standing))
    return generate_latest(everybody)


def gone(pid: int, directory: str) -> None:
    """A process that counted in `directory` has ended: what it held is over, what it counted stays."""
    for held in Path(directory).glob(f"gauge_live*_{pid}.db"):
        held.unlink()
