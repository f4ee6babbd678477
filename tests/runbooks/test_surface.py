"""The names on which runbooks rely: each is there, or on the list of what waits, with what it waits for.

A name that is there and on the list fails too, so that the list says no less than the truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from airlock.app import heap
from airlock.audit.export import COLUMNS
from airlock.core import metrics
from airlock.core.settings import variables
from tests.house import words
from tests.runbooks.extract import ROOT


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One table of names. `there`: what the product has."""

    there: Callable[[], set[str]]
    due: str
    waits: dict[str, str]
    """Name to the part of the product that it waits for."""


def addresses() -> set[str]:
    """The pages of routes are held equal to the process's own by `tests/house`."""
    text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    found = re.findall(r"`(GET|POST|PATCH|DELETE) ([^`\s]+)`", text)
    return {f"{method}:{path}" for method, path in found} | {f"GET:{heap.PATH}"}


def measured() -> set[str]:
    standing = metrics.Standing(revisions=frozenset(), reloads={})
    return set(re.findall(r"^# HELP (\S+)", metrics.exposition(standing=standing).decode(), re.MULTILINE))


def verbs() -> set[str]:
    found = re.findall(r"^## airlock (.+)$", (ROOT / "docs/cli.md").read_text(), re.MULTILINE)
    return {name.replace(" ", ".") for name in found}


def files() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.txt"), *ROOT.glob("scripts/*.sh")]}


OBJECTS = (
    "Deployment/airlock", "ConfigMap/airlock-config", "ConfigMap/airlock-policy", "Deployment/sark-api",
    "Service/sark-api", "Deployment/opa", "Service/opa", "StatefulSet/postgres", "StatefulSet/timescaledb",
    "Deployment/redis", "Secret/sark-secrets", "NetworkPolicy/airlock", "NetworkPolicy/sark-api",
    "PrometheusRule/airlock",
)  # fmt: skip
DATABASE = "PostgreSQL"
SURFACES = {
    "addresses": Surface(
        there=addresses,
        due="GET:/live GET:/ready GET:/health GET:/metrics POST:/mcp POST:/mcp/{server}"
        " POST:/admin/security/block GET:/admin/security/blocks DELETE:/admin/security/blocks/{id}"
        " GET:/admin/policy/status POST:/admin/policy/reload GET:/debug/pprof/heap"
        " PATCH:/api/v1/servers/{id}",
        waits={
            "GET:/v1/policies": "separate policy engine",
            "POST:/v1/data/{path}": "separate policy engine",
        },
    ),
    "columns": Surface(
        there=lambda: set(COLUMNS),
        due="id seq chain_uid timestamp correlation_id tenant subject action resource decision reason"
        " severity metadata hash previous_hash latency_ms redaction_count event_type server_id tool_name"
        " definition_digest policy_revision request_id occurred_at",
        waits={},
    ),
    "settings": Surface(
        there=lambda: set(variables().values()),
        due="rate_limiting.per_token rate_limiting.per_ip logging.level logging.audit_all_requests"
        " policy.cache_ttl policy.cache_size server.max_connections server.max_clients monitoring.enhanced"
        " monitoring.duration",
        waits={
            "database.pool.size": DATABASE,
            "POSTGRES_POOL_SIZE": DATABASE,
            "POSTGRES_MAX_OVERFLOW": DATABASE,
            "POSTGRES_POOL_TIMEOUT": DATABASE,
            "TIMESCALE_POOL_SIZE": "audit warehouse",
            "REDIS_POOL_SIZE": "Redis",
        },
    ),
    "metrics": Surface(
        there=measured,
        due="airlock_up airlock_ready airlock_requests_total airlock_requests_failed_total"
        " airlock_request_duration_seconds airlock_auth_duration_seconds airlock_policy_duration_seconds"
        " airlock_upstream_duration_seconds airlock_redaction_duration_seconds airlock_audit_duration_seconds"
        " airlock_policy_decisions_total airlock_policy_reload_total airlock_policy_revision_info"
        " airlock_policy_cache_hits_total airlock_policy_cache_misses_total airlock_auth_failures_total"
        " airlock_redactions_total airlock_audit_written_total airlock_audit_queue_depth"
        " airlock_audit_last_event_age_seconds airlock_audit_storage_free_bytes"
        " airlock_jwks_last_refresh_timestamp_seconds airlock_leases_active sark_incidents_open"
        " airlock_fail_open_active",
        waits={
            "airlock_audit_shipped_total": "audit warehouse",
            "airlock_audit_unacked_events": "audit warehouse",
            "airlock_audit_checkpoint_age_seconds": "checkpoints",
            "sark_db_pool_size": DATABASE,
            "sark_db_pool_checked_out": DATABASE,
            "sark_db_pool_waiters": DATABASE,
        },
    ),
    "log events": Surface(
        there=words.events,
        due="slow_request upstream_timeout upstream_error policy_load policy_reload policy_compile_error"
        " policy_decision auth_failure oidc_discovery jwks_refresh jwt_invalid security_violation redact"
        " config_change config_fragment_rejected lease_applied lease_expired lifecycle",
        waits={
            "slow_query": DATABASE,
            "db_connect": DATABASE,
            "db_timeout": DATABASE,
            "policy_timeout": "separate policy engine",
            "audit_batch": "audit warehouse",
            "timescale": "audit warehouse",
        },
    ),
    "commands": Surface(
        there=verbs,
        due="status doctor logs policy.status policy.check policy.test policy.show policy.reload cache.stats"
        " redaction.stats redaction.verify redaction.scan debug.heap audit.storage audit.analyze audit.export"
        " audit.verify audit.gaps audit.query block.add override.set verify.e2e verify.performance"
        " verify.security failmode.set server.isolate evidence.collect evidence.verify incident.open"
        " contacts.check runbook.lint drill.run",
        waits={
            "audit.compress": "audit warehouse",
            "keys.rotate": "control plane",
        },
    ),
    "files": Surface(
        there=files,
        due="scripts/e2e-test.sh scripts/performance-test.sh scripts/security-test.sh curl-format.txt",
        waits={},
    ),
    "objects of a cluster": Surface(
        there=lambda: {path.name for path in (ROOT / "deploy").rglob("Chart.yaml")},
        due="",
        waits=dict.fromkeys(OBJECTS, "charts"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("table", SURFACES)
def test_every_name_that_is_due_is_there(table: str) -> None:
    surface = SURFACES[table]
    assert set(surface.due.split()) - surface.there() == set()


@pytest.mark.parametrize("table", SURFACES)
def test_what_is_there_does_not_wait(table: str) -> None:
    surface = SURFACES[table]
    assert set(surface.waits) & surface.there() == set()


def test_the_times_of_curl_are_those_that_the_runbook_reads() -> None:
    names = ("namelookup", "connect", "appconnect", "pretransfer", "redirect", "starttransfer", "total")
    lines = [f"time_{name}: %{{time_{name}}}s\\n" for name in names]
    assert (ROOT / "curl-format.txt").read_text().splitlines() == [*lines, "http_code: %{http_code}\\n"]
