"""Bringing an older schema up to ours with Alembic, inside the transaction of the caller."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def knows(revision: str | None) -> bool:
    """Whether this program has the migration that made a schema; None is an empty database."""
    scripts = ScriptDirectory.from_config(_config())
    return revision is None or revision in {script.revision for script in scripts.walk_revisions()}


def newest() -> str | None:
    """The last migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def upgrade(connection: Connection) -> None:
    """Run every migration that is missing."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
