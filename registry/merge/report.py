"""What a merge did."""

from __future__ import annotations

from dataclasses import dataclass, field

LISTED = 1_000


@dataclass
class Counts:
    """Rows of one table: read = new + known. Known is also what this registry has in its own way."""

    read: int = 0
    new: int = 0

    @property
    def known(self) -> int:
        return self.read - self.new


@dataclass
class MergeReport:
    """Rows by table, crystals linked as twins, and where the two registries say different things.

    Of the conflicts the first thousand are listed and all are counted.
    """

    tables: dict[str, Counts] = field(default_factory=dict)
    twins: int = 0
    conflicts: list[dict[str, object]] = field(default_factory=list)
    conflict_count: int = 0

    def add(self, table: str, read: int, new: int) -> None:
        counts = self.tables.setdefault(table, Counts())
        counts.read += read
        counts.new += new

    def object_to(self, conflicts: list[dict[str, object]]) -> None:
        self.conflict_count += len(conflicts)
        self.conflicts += conflicts[: LISTED - len(self.conflicts)]

    def as_dict(self) -> dict[str, object]:
        """In the words of `lode merge --json`."""
        parts: dict[str, object] = {
            part: {name: getattr(counts, part) for name, counts in self.tables.items()}
            for part in ("read", "new", "known")
        }
        return {**parts, "twins": self.twins, "conflicts": self.conflicts, "conflict_count": self.conflict_count}
