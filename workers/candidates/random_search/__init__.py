"""Random symmetric structures of a composition, as in ab initio random structure searching. Pure, and no torch."""

from workers.candidates.random_search.search import (
    RandomSearch,
    RandomStructure,
    Settings,
    Tally,
    Unsearchable,
)

__all__ = ["RandomSearch", "RandomStructure", "Settings", "Tally", "Unsearchable"]
