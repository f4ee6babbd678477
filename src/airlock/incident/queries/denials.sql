-- Refused attempts by action, reason and tenant; folded rows count in full
SELECT l.action AS action, l.reason AS reason, COALESCE(l.tenant, '') AS tenant,
  SUM(COALESCE(json_extract(l.metadata, '$.count'), 1)) AS attempts,
  MIN(l.timestamp) AS first, MAX(l.timestamp) AS last
FROM audit_log l
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.decision = 'deny'
GROUP BY l.action, l.reason, COALESCE(l.tenant, '') ORDER BY attempts DESC, action, reason, tenant
