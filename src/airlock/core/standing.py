"""How the whole gateway stands at this moment, as metrics show it: what no worker counts by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """What the control data say of alerts and incidents."""

    incidents: Mapping[str, int] = {}
    """Open incidents, by severity."""
    waiting: Mapping[str, int] = {}
    """Alerts that wait for somebody, by state."""
    alerts: Mapping[str, int] = {}
    """Alerts ever raised, by detection rule; those from outside as `outside`."""
    looked_at: float | None = None
    """Seconds since the engine looked at the audit log; None: it never did."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the whole gateway at this moment, and is not counted by any worker."""

    revisions: frozenset[str]
    """Of the policies that decide now; more than one while workers change over."""
    reloads: Mapping[str, int]
    """By result, since the start."""
    fragment_refused: bool = False
    """What the overlay says is not in force."""
    detected: Detected = Detected()


class Whole:
    """How the whole stands, as `prometheus_client` takes it."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        active = GaugeMetricFamily(
            "airlock_policy_revision_info", "The policy that decides.", labels=["sha256"]
        )
        for revision in sorted(self._standing.revisions):
            active.add_metric([revision], 1)
        yield active
        reloads = CounterMetricFamily(
            "airlock_policy_reload_total", "Reloads of policy and configuration.", labels=["result"]
        )
        for result, count in self._standing.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield GaugeMetricFamily(
            "airlock_config_fragment_refused",
            "1 while the text of the overlay is refused.",
            value=int(self._standing.fragment_refused),
        )
        yield from _told(self._standing.detected)


def _told(detected: Detected) -> Iterator[Metric]:
    incidents = GaugeMetricFamily("sark_incidents_open", "Open incidents.", labels=["severity"])
    waiting = GaugeMetricFamily("airlock_alerts_waiting", "Alerts that wait for somebody.", labels=["state"])
    alerts = CounterMetricFamily("airlock_alerts_total", "Alerts that were raised.", labels=["rule"])
    for family, counts in (
        (incidents, detected.incidents), (waiting, detected.waiting), (alerts, detected.alerts),
    ):  # fmt: skip
        for label, count in counts.items():
            family.add_metric([label], count)
        yield family
    lag = GaugeMetricFamily("airlock_detection_lag_seconds", "Since the engine looked at the audit log.")
    if detected.looked_at is not None:
        lag.add_metric([], detected.looked_at)
    yield lag
