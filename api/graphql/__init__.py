"""GraphQL over the system of record: read-only, one snapshot and a constant number of statements for each request."""
