"""Which policies came to decide."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of later work; see `airlock.store.schema`."""
    _policy()


def _policy() -> None:
    op.execute("INSERT INTO parts (part, version) VALUES ('policy', 0)")
    op.create_table(
        "policy_revisions",
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("against", sa.Text),
    )
