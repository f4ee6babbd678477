"""Run by Alembic: migrations happen on the connection, and in the transaction, of whoever asked for them."""

from __future__ import annotations

from alembic import context

from airlock.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
