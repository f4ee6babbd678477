"""What operators lay over the configuration."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of operations; see `airlock.store.schema`."""
    op.create_table(
        "fragments",
        sa.Column("overlay", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
