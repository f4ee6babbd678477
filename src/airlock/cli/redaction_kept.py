"""What a gateway kept of the time of an incident, as texts to look through: log lines and audit rows."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from airlock.audit.catchup import catch_up
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.log_store import FOLDER, segments

BEFORE = 3600.0
"""Seconds before the start of an incident that are looked at as well."""

_ROWS = (
    "SELECT action, resource, reason, json_remove(metadata, '$.source_ip') FROM audit_events"
    " WHERE timestamp >= ? ORDER BY timestamp"
)


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """How much was looked at: every kept log line, and audit rows from `since` (UTC) on."""

    files: int = 0
    lines: int = 0
    rows: int = 0
    since: str = ""
    unreached: tuple[str, ...] = ()
    """Why newer records are not in the database yet."""

    def told(self) -> str:
        """The same in one line."""
        return f"{self.lines} log lines of {self.files} files, {self.rows} audit rows since {self.since} UTC"


def kept(config: Config, incident: str) -> tuple[Looked, list[tuple[str, bytes]]]:
    """How much there is, and each text by its name. Raises `ConfigError` for an incident that nobody opened,
    `Fault`, `OSError` and `sqlite3.Error` where something cannot be read."""
    since = _since(config, incident)
    data = Path(config.data_dir)
    unreached = catch_up(data, clock=SYSTEM, pause=time.sleep)
    files = [path for paths in segments(data / FOLDER).values() for path in paths]
    texts = [(str(path), path.read_bytes()) for path in files]
    rows = _rows(data / "audit.db", since)
    looked = Looked(
        files=len(files),
        lines=sum(text.count(b"\n") for _, text in texts),
        rows=len(rows),
        since=since,
        unreached=tuple(unreached),
    )
    return looked, [*texts, ("audit.db", "\n".join(rows).encode())]


def _since(config: Config, incident: str) -> str:
    from airlock.store import incidents
    from airlock.store.database import FILE, open_store

    store = open_store(Path(config.data_dir) / FILE)
    with closing(store):
        record = incidents.get(store, incident)
    if record is None:
        raise ConfigError(incident, "is no incident of this gateway")
    began = min(record.opened_at, record.estimated_start or record.detected_at) - BEFORE
    return datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _rows(database: Path, since: str) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as db:
        found = db.execute(_ROWS, (since,)).fetchall()
    return [" ".join(str(value) for value in row if value is not None) for row in found]
