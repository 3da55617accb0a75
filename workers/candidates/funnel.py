"""What became of everything that was proposed: kept per operation, rejected per rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Funnel:
    """Counts of one generation run; funnels of several runs add up."""

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    parents: Counter[str] = field(default_factory=Counter)

    def keep(self, operation: str) -> None:
        self.kept[operation] += 1

    def reject(self, rule: str, count: int = 1) -> None:
        if count:
            self.rejected[rule] += count

    def parent(self, outcome: str) -> None:
        """One parent was used, or skipped for this reason."""
        self.parents[outcome] += 1

    def __add__(self, other: Funnel) -> Funnel:
        return Funnel(self.kept + other.kept, self.rejected + other.rejected, self.parents + other.parents)

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {"parents": dict(self.parents), "kept": dict(self.kept), "rejected": dict(self.rejected)}
