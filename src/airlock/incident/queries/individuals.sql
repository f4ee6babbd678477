-- Users and tenants in whose calls such data was found
SELECT COUNT(DISTINCT NULLIF(p.subject, '')) AS users, COUNT(DISTINCT NULLIF(l.tenant, '')) AS tenants
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.action = 'redact_data'
  AND COALESCE(json_extract(l.metadata, '$.synthetic'), 0) <> 1
