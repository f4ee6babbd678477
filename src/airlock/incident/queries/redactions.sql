-- Kinds of data that redaction took out, with the calls and users concerned
SELECT d.key AS data_type, SUM(d.value) AS found, COUNT(DISTINCT l.correlation_id) AS calls,
  COUNT(DISTINCT NULLIF(p.subject, '')) AS users, COUNT(DISTINCT l.tenant) AS tenants
FROM audit_log l JOIN json_each(l.metadata, '$.detectors') d LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.action = 'redact_data'
  AND COALESCE(json_extract(l.metadata, '$.synthetic'), 0) <> 1
GROUP BY d.key ORDER BY found DESC, d.key
