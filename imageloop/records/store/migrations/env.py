"""Alembic's way in: the connection is handed over by `imageloop.records.store.database`."""

from alembic import context

from imageloop.records.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
