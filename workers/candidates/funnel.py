"""What became of everything that was proposed: kept per operation, rejected per rule, flagged per flag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Funnel:
    """Counts of one generation run; funnels of several runs add up.

    parents: by what became of them; kept: candidates that passed every rule, by operation; rejected: by the first rule
    that they broke; flagged: by flag, of those that were made into crystals (one may carry several).
    """

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    parents: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)

    def keep(self, operation: str, count: int = 1) -> None:
        if count:
            self.kept[operation] += count

    def reject(self, rule: str, count: int = 1) -> None:
        if count:
            self.rejected[rule] += count

    def parent(self, outcome: str) -> None:
        """One parent was used, or skipped for this reason."""
        self.parents[outcome] += 1

    def flag(self, flags: Iterable[str]) -> None:
        """One candidate carries these."""
        self.flagged.update(flags)

    def __add__(self, other: Funnel) -> Funnel:
        pairs = zip(self._counters(), other._counters(), strict=True)
        return Funnel(*(mine + theirs for mine, theirs in pairs))

    def __sub__(self, earlier: Funnel) -> Funnel:
        """What was counted since `earlier`, a copy of this funnel as it was."""
        pairs = zip(self._counters(), earlier._counters(), strict=True)
        return Funnel(*(mine - theirs for mine, theirs in pairs))

    def copy(self) -> Funnel:
        return self + Funnel()

    def as_dict(self) -> dict[str, dict[str, int]]:
        names = ("parents", "kept", "rejected", "flagged")
        return {name: dict(getattr(self, name)) for name in names}

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.kept, self.rejected, self.parents, self.flagged
