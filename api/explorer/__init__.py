"""Pages for people, from the same numbers that GraphQL gives."""
