-- Tools whose definition nobody approved: shown by their server, or called
SELECT l.server_id AS server, COALESCE(l.tool_name, 'several') AS tool, SUM(l.action = 'tool_drift') AS shown,
  SUM(l.action <> 'tool_drift' AND l.decision = 'deny') AS refused,
  SUM(l.action <> 'tool_drift' AND l.decision = 'allow') AS called,
  MIN(l.timestamp) AS first, MAX(l.timestamp) AS last
FROM audit_log l
WHERE l.timestamp >= :since AND l.timestamp < :until
  AND (l.action = 'tool_drift' OR l.reason = 'definition_not_approved'
    OR json_extract(l.metadata, '$.would_deny') LIKE 'definition_not_approved%')
GROUP BY l.server_id, l.tool_name ORDER BY called DESC, refused DESC, l.server_id, l.tool_name
