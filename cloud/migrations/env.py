"""Alembic's entry: it runs on the connection, and in the transaction, that `cloud.schema` opened."""

from alembic import context
from sqlmodel import SQLModel

import cloud.tables  # noqa: F401  # fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
)
with context.begin_transaction():
    context.run_migrations()
