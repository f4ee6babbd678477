-- Rows of callers and calls, from which exposure is worked out
SELECT l.id AS id, COALESCE(l.correlation_id, '') AS correlation, COALESCE(l.phase, '') AS phase,
  COALESCE(l.decision, '') AS decision, COALESCE(l.reason, '') AS reason, COALESCE(p.subject, '') AS subject,
  COALESCE(l.tenant, '') AS tenant, COALESCE(p.source_ip, '') AS address,
  COALESCE(json_extract(p.data, '$.session_digest'), '') AS session, COALESCE(l.server_id, '') AS server,
  COALESCE(l.tool_name, '') AS tool, COALESCE(json_extract(l.metadata, '$.effect'), '') AS effect,
  COALESCE(json_extract(l.metadata, '$.count'), 1) AS count,
  COALESCE(json_extract(l.metadata, '$.result_bytes'), 0) AS bytes
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.event_type IN ('call', 'auth')
  AND l.action NOT IN ('session', 'login', 'logout')
ORDER BY l.n
