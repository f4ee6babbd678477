CREATE TABLE audit_chains (
  chain_uid TEXT PRIMARY KEY, origin TEXT NOT NULL UNIQUE, opened_at TEXT NOT NULL, closed_at TEXT,
  predecessor TEXT,                       -- JSON {chain_uid, seq, hash} after a restore
  head_seq INTEGER NOT NULL DEFAULT 0, head_hash TEXT,
  acked_seq INTEGER NOT NULL DEFAULT 0, acked_hash TEXT);
CREATE TABLE audit_log (
  n INTEGER PRIMARY KEY, chain_uid TEXT NOT NULL REFERENCES audit_chains, seq INTEGER NOT NULL CHECK (seq >= 1),
  id TEXT NOT NULL UNIQUE, timestamp TEXT NOT NULL CHECK (length(timestamp) = 26),
  hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
  previous_hash TEXT CHECK ((seq = 1) = (previous_hash IS NULL)),
  leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32),
  entry BLOB,                             -- NULL = skeleton row: content pruned, links kept
  event_type TEXT, phase TEXT, occurred_at TEXT, correlation_id TEXT, request_id TEXT, tenant TEXT, tenant_seq INTEGER,
  action TEXT, resource TEXT, server_id TEXT, tool_name TEXT, definition_digest TEXT, policy_revision TEXT,
  decision TEXT, reason TEXT, severity TEXT, latency_ms INTEGER, redaction_count INTEGER, metadata TEXT,
  UNIQUE (chain_uid, seq));
CREATE INDEX ix_audit_time ON audit_log (timestamp);
CREATE INDEX ix_audit_corr ON audit_log (correlation_id, n) WHERE correlation_id IS NOT NULL;
CREATE INDEX ix_audit_decision ON audit_log (decision, timestamp) WHERE decision IN ('deny', 'error');
CREATE INDEX ix_audit_tenant ON audit_log (tenant, timestamp);
CREATE TABLE audit_personal (n INTEGER PRIMARY KEY REFERENCES audit_log, salt BLOB NOT NULL, subject TEXT, source_ip TEXT, data TEXT);
CREATE INDEX ix_personal_subject ON audit_personal (subject);
CREATE INDEX ix_personal_ip ON audit_personal (source_ip);
CREATE VIEW audit_events AS SELECT l.id, l.timestamp, l.correlation_id, l.tenant,
  (SELECT p.subject FROM audit_personal p WHERE p.n = l.n) AS subject,
  l.action, l.resource, l.decision, l.reason, l.severity, l.latency_ms, l.redaction_count,
  CASE WHEN l.metadata IS NULL THEN NULL ELSE json_set(l.metadata, '$.source_ip',
    (SELECT p.source_ip FROM audit_personal p WHERE p.n = l.n)) END AS metadata,
  l.hash, l.previous_hash, l.chain_uid, l.seq, l.event_type, l.phase, l.server_id, l.tool_name, l.definition_digest,
  l.policy_revision, l.request_id, l.occurred_at FROM audit_log l;
CREATE VIEW audit_events_hourly AS WITH RECURSIVE h(hour) AS (
  SELECT strftime('%Y-%m-%d %H:00:00', 'now', '-167 hours') UNION ALL
  SELECT datetime(hour, '+1 hour') FROM h WHERE hour < strftime('%Y-%m-%d %H:00:00', 'now'))
  SELECT h.hour, (SELECT COUNT(*) FROM audit_log l WHERE l.timestamp >= h.hour
    AND l.timestamp < datetime(h.hour, '+1 hour')) AS events FROM h;
CREATE VIEW audit_seq_gaps AS SELECT chain_uid, seq + 1 AS first_missing, next_seq - 1 AS last_missing FROM
  (SELECT chain_uid, seq, LEAD(seq) OVER (PARTITION BY chain_uid ORDER BY seq) AS next_seq FROM audit_log)
  WHERE next_seq > seq + 1;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log WHEN NOT (   -- only the step to a skeleton passes
  NEW.n = OLD.n AND NEW.chain_uid = OLD.chain_uid AND NEW.seq = OLD.seq AND NEW.id = OLD.id
  AND NEW.timestamp = OLD.timestamp AND NEW.hash = OLD.hash AND NEW.previous_hash IS OLD.previous_hash
  AND NEW.leaf_hash = OLD.leaf_hash AND COALESCE(NEW.entry, NEW.event_type, NEW.phase,
  NEW.occurred_at, NEW.correlation_id, NEW.request_id, NEW.tenant, NEW.tenant_seq, NEW.action, NEW.resource, NEW.server_id,
  NEW.tool_name, NEW.definition_digest, NEW.policy_revision, NEW.decision, NEW.reason, NEW.severity, NEW.latency_ms, NEW.redaction_count, NEW.metadata) IS NULL)
  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE audit_checkpoints (chain_uid TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
  signed_at TEXT NOT NULL, cosignatures TEXT, tsr BLOB, PRIMARY KEY (chain_uid, size, signed_at));
CREATE TABLE audit_sinks (sink TEXT NOT NULL, chain_uid TEXT NOT NULL, acked_seq INTEGER NOT NULL DEFAULT 0, acked_at TEXT,
  emitted_seq INTEGER NOT NULL DEFAULT 0, last_error TEXT, PRIMARY KEY (sink, chain_uid));
CREATE TABLE audit_holds (hold_id TEXT PRIMARY KEY, incident_id TEXT, scope TEXT NOT NULL, placed_at TEXT NOT NULL, released_at TEXT);
