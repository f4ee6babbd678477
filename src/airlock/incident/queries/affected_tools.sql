-- Tools whose calls failed, or were refused because something was contained
SELECT l.server_id AS server, l.tool_name AS tool, SUM(l.decision = 'error') AS failed,
  SUM(l.decision = 'deny') AS contained
FROM audit_log l
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.tool_name <> ''
  AND l.event_type = 'call' AND l.phase <> 'intent'
  AND (l.decision = 'error' OR (l.decision = 'deny' AND l.reason LIKE 'contained%'))
  AND COALESCE(json_extract(l.metadata, '$.synthetic'), 0) <> 1
GROUP BY l.server_id, l.tool_name ORDER BY failed + contained DESC, l.server_id, l.tool_name
