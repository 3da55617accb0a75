"""One filter language for the command line, GraphQL and OPTIMADE: fields, grammar, SQL."""
