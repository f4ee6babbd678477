-- Minutes in which calls passed although the policy could not decide
SELECT substr(l.timestamp, 1, 16) AS minute, COUNT(DISTINCT COALESCE(l.request_id, l.id)) AS calls
FROM audit_log l
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.decision IS NOT 'deny'
  AND l.event_type = 'call' AND (l.reason = 'fail_open' OR json_extract(l.metadata, '$.grant') IS NOT NULL)
GROUP BY substr(l.timestamp, 1, 16) ORDER BY minute
