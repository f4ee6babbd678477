"""An incident to tell of."""

from __future__ import annotations

from airlock.model.incident import Incident

NOW = 1_790_000_000.0

INCIDENT = Incident(
    id="INC-20261122-180000",
    title="Credential stuffing",
    type="security_incident",
    severity="P1",
    status="INVESTIGATING",
    detection_source="gateway_detection",
    rules=("MCP-002",),
    tenants=("acme",),
    opened_at=NOW,
    detected_at=NOW,
    clocks_from=NOW,
)
