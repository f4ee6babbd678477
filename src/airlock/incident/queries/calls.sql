-- Calls by how they ended
SELECT COALESCE(SUM(l.decision = 'allow'), 0) AS allowed, COALESCE(SUM(l.decision = 'deny'), 0) AS denied,
  COALESCE(SUM(l.decision = 'error'), 0) AS failed, COUNT(*) AS calls
FROM audit_log l
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.event_type = 'call' AND l.phase <> 'intent'
  AND l.decision IS NOT NULL AND l.action <> 'session'
  AND COALESCE(json_extract(l.metadata, '$.synthetic'), 0) <> 1
