-- Where refused attempts came from, and how many users they named
SELECT p.source_ip AS source_ip, SUM(COALESCE(json_extract(l.metadata, '$.count'), 1)) AS attempts,
  COUNT(DISTINCT NULLIF(p.subject, '')) AS users, MIN(l.timestamp) AS first, MAX(l.timestamp) AS last
FROM audit_log l JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.decision = 'deny' AND p.source_ip <> ''
GROUP BY p.source_ip ORDER BY attempts DESC, p.source_ip
