"""Run by Alembic for each upgrade, on the connection and in the transaction of db.session.migrate."""

from alembic import context

from db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
    transactional_ddl=True,  # true of both databases, as long as the driver begins nothing of its own
)
context.run_migrations()
