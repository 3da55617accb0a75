"""The history of the schema, run by alembic and imported by nobody."""
