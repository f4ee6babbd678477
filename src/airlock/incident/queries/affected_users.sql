-- Users whose calls failed, or were refused because something was contained
SELECT p.subject AS subject, l.tenant AS tenant,
  SUM(l.decision = 'error') AS failed, SUM(l.decision = 'deny') AS contained,
  MIN(l.timestamp) AS first, MAX(l.timestamp) AS last
FROM audit_log l JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND p.subject <> ''
  AND l.event_type = 'call' AND l.phase <> 'intent'
  AND (l.decision = 'error' OR (l.decision = 'deny' AND l.reason LIKE 'contained%'))
  AND COALESCE(json_extract(l.metadata, '$.synthetic'), 0) <> 1
GROUP BY p.subject, l.tenant ORDER BY failed + contained DESC, p.subject, l.tenant
