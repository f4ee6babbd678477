"""The tables of control data, in SQL that SQLite and PostgreSQL both understand.

`migrations` creates them; a test compares both. Times are Unix seconds, JSON is text.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, Integer, MetaData, Table, Text, text

metadata = MetaData()

parts = Table(
    "parts",
    metadata,
    Column("part", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
"""One row per part of the snapshot; its version rises in the transaction that changes the part."""

pins = Table(
    "pins",
    metadata,
    Column("server", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("tool", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen", Float(53), nullable=False),
    Column("decided_at", Float(53)),
    Column("decided_by", Text),
    CheckConstraint("state IN ('pinned', 'changed', 'replaced')", name="pins_state"),
)
"""Every digest that a tool showed. `pinned`: the one that may be called. `changed`: waits for a decision.
`replaced`: was pinned before another one was approved."""

one_pin = Index(
    "pins_one_pinned",
    pins.c.server,
    pins.c.tenant,
    pins.c.tool,
    unique=True,
    sqlite_where=text("state = 'pinned'"),
    postgresql_where=text("state = 'pinned'"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("server", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("tool", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("replaced", Text, nullable=False),
    Column("decided_at", Float(53), nullable=False),
    Column("decided_by", Text, nullable=False),
)
"""Approvals that stand in no audit log yet: whoever records one takes it out. `replaced`: the digest that was
pinned before, or empty."""

revocations = Table(
    "revocations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("expires_at", Float(53)),
    CheckConstraint("kind IN ('token', 'subject')", name="revocations_kind"),
)
"""`value` is the `jti`, or the JSON array of tenant, issuer and subject. No `expires_at`: for good."""

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("sid", Text, primary_key=True),
    Column("expires_at", Float(53), nullable=False),
)
"""Session ids that were ended before their own end, until that end."""

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("action", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("expires_at", Float(53)),
    Column("max_until", Float(53)),
    Column("epoch", BigInteger, nullable=False),
    Column("ended_at", Float(53)),
    Column("ended_by", Text, nullable=False),
    Column("end_reason", Text, nullable=False),
    CheckConstraint("state IN ('active', 'released', 'expired')", name="leases_state"),
)
"""Containment leases, ended ones too. `epoch`: the version of the part in which the lease began to hold."""

leases_by_state = Index("leases_by_state", leases.c.state)

lease_keys = Table(
    "lease_keys",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("lease_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
)
"""Idempotency keys: whoever asks again with the same key gets the lease of the first time. `digest`: of what
was asked."""

lease_events = Table(
    "lease_events",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("lease_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("chain_uid", Text),
    Column("seq", BigInteger),
    CheckConstraint(
        "event IN ('lease_applied', 'lease_extended', 'lease_released', 'lease_expired')",
        name="lease_events_event",
    ),
)
"""What happened to leases. `chain_uid` and `seq`: where it stands in the audit log; absent until then."""

lease_events_by_lease = Index("lease_events_by_lease", lease_events.c.lease_id)

lease_events_waiting = Index(
    "lease_events_waiting",
    lease_events.c.n,
    sqlite_where=text("seq IS NULL"),
    postgresql_where=text("seq IS NULL"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("replica", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("seen_at", Float(53), nullable=False),
)
"""Gateway workers, the epoch of the leases that each of them enforces, and when it last said so."""

fragments = Table(
    "fragments",
    metadata,
    Column("overlay", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("at", Float(53), nullable=False),
)
"""The text that was last taken over from an overlay, by the path of its file: SHA-256, and when."""

login_grants = Table(
    "login_grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("code", Text),
    Column("refresh", Text, nullable=False),
    Column("tokens", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("ends_at", Float(53), nullable=False),
    CheckConstraint("state IN ('claimed', 'coded', 'live', 'ended')", name="login_grants_state"),
)
"""Logins of OAuth clients. `claimed`: the provider's answer is being looked at. `coded`: a code waits for its
client until `expires_at`. `live`: tokens are issued until `ends_at`. `code` and `refresh` are digests,
`tokens` is a JSON array of `[jti, end]`."""

login_code = Index("login_grants_code", login_grants.c.code, unique=True)
login_end = Index("login_grants_end", login_grants.c.ends_at)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("event", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("chain_uid", Text),
    Column("seq", BigInteger),
)
"""Rows for the audit log that a process without a chain left in its transaction: `model.entry.Event` as JSON.
A worker writes each, and notes where it stands; absent until then."""

audit_outbox_waiting = Index(
    "audit_outbox_waiting",
    audit_outbox.c.n,
    sqlite_where=text("seq IS NULL"),
    postgresql_where=text("seq IS NULL"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("opened_at", Float(53), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""`model.incident.Incident` as JSON, with what lists ask for beside it."""

incidents_by_status = Index("incidents_by_status", incidents.c.status)

incident_events = Table(
    "incident_events",
    metadata,
    Column("incident", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("once", Text),
    Column("digest", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("outbox", Integer, nullable=False),
)
"""Timelines: `model.incident.IncidentEvent` as JSON. `outbox`: its row for the audit log. `once`: a key that
one event of the incident may have."""

incident_events_once = Index(
    "incident_events_once", incident_events.c.incident, incident_events.c.once, unique=True
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("last_seen", Float(53), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""`model.incident.Alert` as JSON."""

alerts_by_fingerprint = Index("alerts_by_fingerprint", alerts.c.fingerprint)
alerts_by_incident = Index("alerts_by_incident", alerts.c.incident)
alerts_by_rule = Index("alerts_by_rule", alerts.c.rule, alerts.c.last_seen)

rule_settings = Table(
    "rule_settings",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("document", Text, nullable=False),
)
"""What operators changed of a detection rule: mode and thresholds, as JSON. `tenant` empty: everywhere."""

cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
)
"""Where a reader of a stream stands, as JSON."""

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""Actions that wait for people, and what became of them; `model.proposal.Proposal` as JSON."""

grants = Table(
    "grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("ended_at", Float(53)),
    Column("document", Text, nullable=False),
)
"""Loosening grants: fail-open and its kin. One in force per scope."""

debts = Table(
    "debts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("grant_id", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("document", Text, nullable=False),
)
"""Calls that a grant let through: each is judged again before the incident can be resolved."""

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Float(53), nullable=False),
    Column("document", Text, nullable=False),
)
"""Notices and pages: drafted, waiting for approval, queued, sent, failed; `model.message.Message` as JSON."""

messages_by_state = Index("messages_by_state", messages.c.state, messages.c.due_at)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("playbook", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", Float(53), nullable=False),
    Column("document", Text, nullable=False),
)
"""Runs of playbooks."""

run_steps = Table(
    "run_steps",
    metadata,
    Column("run", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("outbox", Integer, nullable=False),
)
"""The journal of a run: a step is `started` in the audit log before its effect, and has its result after."""

bundles = Table(
    "bundles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("document", Text, nullable=False),
)
"""Evidence bundles: where each is, its digest, whether it is sealed."""

drills = Table(
    "drills",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("ran_at", Float(53), nullable=False),
    Column("document", Text, nullable=False),
)
"""Results of drills, by the rule or playbook that was proved."""

api_keys_used = Table(
    "api_keys_used",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
)
"""Idempotency keys of the management API: who asks again with one gets the answer of the first time."""

policy_revisions = Table(
    "policy_revisions",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("by", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("against", Text),
)
"""`model.revision.Revision`: every change of the policy in force, and every one that was refused. The texts
are in the data directory."""

vault_entries = Table(
    "vault_entries",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("issuer", Text, primary_key=True),
    Column("server", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("claimed_until", Float(53), nullable=False),
    Column("updated_at", Float(53), nullable=False),
)
"""Credentials of people at upstream servers, encrypted; `issuer` is the authorization server that gave them.
`claimed_until`: somebody exchanges its refresh token."""

vault_entries_owner = Index("vault_entries_owner", vault_entries.c.server, vault_entries.c.owner)

vault_clients = Table(
    "vault_clients",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("issuer", Text, primary_key=True),
    Column("callback", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
)
"""As whom authorization servers registered the gateway, encrypted."""

vault_trips = Table(
    "vault_trips",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("until", Float(53), nullable=False),
)
"""Logins at upstream servers that people are on, encrypted; `id` is the digest of their `state`."""
