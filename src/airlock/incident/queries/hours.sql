-- Events of every hour, hours without any included
WITH RECURSIVE h(starts_at) AS (
  SELECT strftime('%Y-%m-%d %H:00:00', :since) UNION ALL
  SELECT datetime(starts_at, '+1 hour') FROM h WHERE datetime(starts_at, '+1 hour') < :until)
SELECT h.starts_at AS starts_at, (SELECT COUNT(*) FROM audit_log l
  WHERE l.timestamp >= MAX(h.starts_at, :since)
    AND l.timestamp < MIN(datetime(h.starts_at, '+1 hour'), :until)) AS events
FROM h
