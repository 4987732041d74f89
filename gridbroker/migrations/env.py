"""Alembic's entry: run the migrations on the connection that `gridbroker.app.migrate` hands over."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run migrations through `gridbroker db upgrade`, which knows the database")

context.configure(connection=connection, target_metadata=context.config.attributes.get("target_metadata"))
with context.begin_transaction():
    context.run_migrations()
