"""Alembic's entry: the one connection and transaction that trilith.store.migrate gives it."""

from __future__ import annotations

from alembic import context

from trilith.store import migrate as _migrate  # noqa: F401  declares every table
from trilith.store.mapping import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
