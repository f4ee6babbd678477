"""Containment leases and who enforces them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of the first day; see `airlock.store.schema`."""
    _leases()
    _logins()


def _leases() -> None:
    op.execute("INSERT INTO parts (part, version) VALUES ('leases', 0)")
    op.create_table(
        "leases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("selector", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("max_until", sa.Float(53)),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.Float(53)),
        sa.Column("ended_by", sa.Text, nullable=False),
        sa.Column("end_reason", sa.Text, nullable=False),
        sa.CheckConstraint("state IN ('active', 'released', 'expired')", name="leases_state"),
    )
    op.create_index("leases_by_state", "leases", ["state"])
    op.create_table(
        "lease_keys",
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("lease_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_table(
        "lease_events",
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("lease_id", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("chain_uid", sa.Text),
        sa.Column("seq", sa.BigInteger),
        sa.CheckConstraint(
            "event IN ('lease_applied', 'lease_extended', 'lease_released', 'lease_expired')",
            name="lease_events_event",
        ),
    )
    op.create_index("lease_events_by_lease", "lease_events", ["lease_id"])
    op.create_index(
        "lease_events_waiting",
        "lease_events",
        ["n"],
        sqlite_where=sa.text("seq IS NULL"),
        postgresql_where=sa.text("seq IS NULL"),
    )
    op.create_table(
        "replicas",
        sa.Column("replica", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.Float(53), nullable=False),
    )


def _logins() -> None:
    op.create_table(
        "login_grants",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("login", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("refresh", sa.Text, nullable=False),
        sa.Column("tokens", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Float(53), nullable=False),
        sa.Column("ends_at", sa.Float(53), nullable=False),
        sa.CheckConstraint("state IN ('claimed', 'coded', 'live', 'ended')", name="login_grants_state"),
    )
    op.create_index("login_grants_code", "login_grants", ["code"], unique=True)
    op.create_index("login_grants_end", "login_grants", ["ends_at"])
