"""One registry into another, without doubling anything."""
