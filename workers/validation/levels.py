"""Whether what is stable at one level of theory stays so at a second, higher one. Pure: no database in it.

Merchant et al. 2023 hold their finds against r2SCAN: 84 % of binaries and ternaries keep a negative phase-separation
energy there, 86.8 % of the tested quaternaries stay on the hull.

A hull that lacks competitors flatters what is left on it, and a second level rarely holds all that the first one does.
So the default is to solve both hulls from the crystals that both levels hold: like is compared with like, and what
differs are the energies alone. With `own_hulls` each level has all its entries. Elements stand at 0 eV/atom, which
formation energies are against; an elemental entry below that takes their place, as on every hull here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from math import sqrt
from typing import Any, Literal, get_args

from registry.hull.geometry import Entry, HullSolution, compute_hull
from registry.hull.phases import Key
from registry.identity.composition import SYMBOLS

Measure = Literal["negative_decomposition_energy", "negative_phase_separation_energy", "on_hull"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
STARTS: tuple[Measure, ...] = ("negative_decomposition_energy", "on_hull")
"""What counts as stable at the first level: one report has both."""

GROUPS = {"2": (2, 2), "3": (3, 3), "4": (4, 4), "5+": (5, 118), "2-3": (2, 3), "all": (2, 118)}
"""Name -> fewest and most elements of a compound; the paper tells of "2-3" and "4"."""

Z95 = 1.959963984540054
"""Standard deviations of a normal distribution within which 95 % lie."""


@dataclass(frozen=True, slots=True)
class LevelEntry:
    """The energy of a crystal at one level.

    key: the crystal, > 0, the same at every level; id: what people call it
    amounts: atomic number -> count; formation_energy: eV/atom against the elements of the level
    """

    key: int
    id: str
    reduced_formula: str
    amounts: Mapping[int, float]
    formation_energy: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a crystal lies on the hull of one level, eV/atom; as `registry.hull.results.HullResult`."""

    formation_energy_per_atom: float
    e_above_hull: float
    decomposition_energy: float
    phase_separation_energy: float
    is_stable: bool

    def fulfils(self, measure: Measure) -> bool:
        if measure == "negative_decomposition_energy":
            return self.decomposition_energy < 0
        return self.phase_separation_energy < 0 if measure == "negative_phase_separation_energy" else self.is_stable


@dataclass(frozen=True, slots=True)
class Compared:
    """A crystal of two or more elements that both levels hold.

    decomposition: (formula, share of the atoms) of the phases of the second hull at its composition
    stable_before: by each of STARTS on the first level's own hull, of all its entries
    lacks_competitors: a phase of that hull within its chemical system isn't labelled at the second level
    """

    id: str
    reduced_formula: str
    nelements: int
    first: Place
    second: Place
    decomposition: tuple[tuple[str, float], ...]
    stable_before: Mapping[Measure, bool]
    lacks_competitors: bool

    @property
    def to_polymorph(self) -> bool:
        """Whether another crystal of its composition lies lower at the second level, and on the hull."""
        return not self.second.is_stable and [name for name, _ in self.decomposition] == [self.reduced_formula]

    def as_dict(self) -> dict[str, Any]:
        shares = [{"reduced_formula": formula, "amount": amount} for formula, amount in self.decomposition]
        return {**asdict(self), "decomposition": shares, "to_polymorph": self.to_polymorph}


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of`, with the 95 % interval that Wilson (1927) gives a binomial share; None of nothing."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.count, self.of) if self.of else None

    def as_dict(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "share": self.share, "interval": self.interval}


@dataclass(frozen=True)
class Tally:
    """What became of those of one group that are stable at the first level, in the sense of `start`.

    stable: on its own hull, of all its entries; unlabelled: of these, without an energy at the second level
    compared: how many start: stable on the first hull and labelled at both levels
    only_here: of the compared, stable since both hulls hold common entries alone, and not on the level's own
    lacking_competitors: of the compared, `Compared.lacks_competitors`; kept: of the compared, what they fulfil
    at the second level; to_polymorphs: of those that left its hull, `Compared.to_polymorph`
    entered: labelled at both, not stable at the first level and stable at the second, in the same sense
    """

    elements: str
    start: Measure
    stable: int
    unlabelled: int
    compared: int
    only_here: int
    lacking_competitors: int
    to_polymorphs: int
    entered: int
    kept: Mapping[Measure, Share]

    def as_dict(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "kept"}
        return {**told, "kept": {measure: share.as_dict() for measure, share in self.kept.items()}}


@dataclass(frozen=True)
class LevelComparison:
    """Two stable sets.

    hulls: "common" or "own"; first_entries, second_entries, common_entries: crystals that the levels hold, and both do
    tallies: by number of elements and start; left, entered: which crystals, on the hull of the one level alone, those
    that fall or come by most first
    """

    hulls: Literal["common", "own"]
    first_entries: int
    second_entries: int
    common_entries: int
    tallies: tuple[Tally, ...]
    left: tuple[Compared, ...]
    entered: tuple[Compared, ...]

    def tally(self, elements: str = "all", start: Measure = "on_hull") -> Tally:
        return next(one for one in self.tallies if (one.elements, one.start) == (elements, start))

    def summary(self) -> dict[str, Any]:
        names = ("hulls", "first_entries", "second_entries", "common_entries")
        return {**{name: getattr(self, name) for name in names}, "tallies": [one.as_dict() for one in self.tallies]}


def wilson(count: int, of: int, deviations: float = Z95) -> tuple[float, float]:
    """The score interval of a binomial share (Wilson 1927), by default of 95 %; `of` > 0."""
    share, square = count / of, deviations**2
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = deviations * sqrt(share * (1 - share) / of + square / (4 * of**2)) / (1 + square / of)
    return max(0.0, centre - half), min(1.0, centre + half)


def compare_levels(
    first: Sequence[LevelEntry],
    second: Sequence[LevelEntry],
    counted: Collection[int] | None = None,
    *,
    own_hulls: bool = False,
) -> LevelComparison:
    """Compare the stable set of the first level with that of the second; one entry a crystal and level.

    counted: keys of the crystals that are judged (None: all); the others compete all the same
    Raises BadEntry for energies that no hull may hold.
    """
    shared = {one.key for one in first} & {one.key for one in second}
    whole = _Hull(first)
    hulls = (whole, _Hull(second)) if own_hulls else (_Hull(_these(first, shared)), _Hull(_these(second, shared)))
    judged = [one for one in first if _elements(one) > 1 and (counted is None or one.key in counted)]
    rows = list(_compared(_these(judged, shared), hulls, whole, shared))
    before = [(_elements(one), one.key in shared, whole.place(one.key)) for one in judged]
    sizes = len(first), len(second), len(shared)
    return LevelComparison("own" if own_hulls else "common", *sizes, tuple(_tallies(rows, before)), *_moved(rows))


class _Hull:
    """A solved hull by key of the crystal; elements at 0 are entries -Z."""

    def __init__(self, entries: Sequence[LevelEntry]) -> None:
        numbers = {number for one in entries for number in one.amounts}
        corners = [Entry(-number, {number: 1}, 0.0) for number in sorted(numbers)]
        phases = [Entry(one.key, one.amounts, one.formation_energy) for one in entries]
        self.solution: HullSolution = compute_hull([*phases, *corners])
        self._formulas: dict[Key, str] = {one.key: one.reduced_formula for one in entries}
        self._rows = {one.key: row for row, one in enumerate(entries)}
        self._entries = entries

    def place(self, key: int) -> Place:
        row, solution = self._rows[key], self.solution
        return Place(
            self._entries[row].formation_energy,
            float(solution.e_above_hull[row]),
            float(solution.decomposition_energies[row]),
            float(solution.phase_separation_energies[row]),
            bool(solution.is_stable[row]),
        )

    def decomposition(self, key: int) -> tuple[tuple[str, float], ...]:
        phases = self.solution[key].decomposition
        return tuple((self._formulas.get(phase) or SYMBOLS[-int(phase)], share) for phase, share in phases)

    @cached_property
    def stable(self) -> list[LevelEntry]:
        return [one for row, one in enumerate(self._entries) if self.solution.is_stable[row]]


def _compared(
    common: Iterable[LevelEntry], hulls: tuple[_Hull, _Hull], whole: _Hull, shared: Collection[int]
) -> Iterator[Compared]:
    """Those that are stable, in whatever sense, at either level."""
    lacking = {frozenset(one.amounts) for one in whole.stable if one.key not in shared}
    for one in common:
        first, second = (hull.place(one.key) for hull in hulls)
        if not any(place.fulfils(start) for place in (first, second) for start in STARTS):
            continue
        own = whole.place(one.key)
        yield Compared(
            one.id,
            one.reduced_formula,
            _elements(one),
            first,
            second,
            hulls[1].decomposition(one.key),
            {start: own.fulfils(start) for start in STARTS},
            any(system in lacking for system in _systems_within(one)),
        )


def _moved(rows: Sequence[Compared]) -> tuple[tuple[Compared, ...], tuple[Compared, ...]]:
    """Those that leave the hull, and those that enter it, by how far."""
    left = [row for row in rows if row.first.is_stable and not row.second.is_stable]
    entered = [row for row in rows if row.second.is_stable and not row.first.is_stable]
    return (
        tuple(sorted(left, key=lambda row: (-row.second.e_above_hull, row.id))),
        tuple(sorted(entered, key=lambda row: (-row.first.e_above_hull, row.id))),
    )


def _tallies(rows: Sequence[Compared], before: Sequence[tuple[int, bool, Place]]) -> Iterator[Tally]:
    """before: (number of elements, labelled at both, place on the first level's own hull) of what is judged."""
    for elements, (fewest, most) in GROUPS.items():
        of_group = [row for row in rows if fewest <= row.nelements <= most]
        own = [(labelled, place) for size, labelled, place in before if fewest <= size <= most]
        for start in STARTS:
            stable = [labelled for labelled, place in own if place.fulfils(start)]
            yield _tally(elements, start, stable, of_group)


def _tally(elements: str, start: Measure, stable: Sequence[bool], rows: Sequence[Compared]) -> Tally:
    compared = [row for row in rows if row.first.fulfils(start)]
    kept = {measure: sum(row.second.fulfils(measure) for row in compared) for measure in MEASURES}
    return Tally(
        elements=elements,
        start=start,
        stable=len(stable),
        unlabelled=stable.count(False),
        compared=len(compared),
        only_here=sum(not row.stable_before[start] for row in compared),
        lacking_competitors=sum(row.lacks_competitors for row in compared),
        to_polymorphs=sum(row.to_polymorph for row in compared),
        entered=sum(row.second.fulfils(start) and not row.first.fulfils(start) for row in rows),
        kept={measure: Share(count, len(compared)) for measure, count in kept.items()},
    )


def _these(entries: Iterable[LevelEntry], keys: Collection[int]) -> list[LevelEntry]:
    return [one for one in entries if one.key in keys]


def _elements(entry: LevelEntry) -> int:
    return len(entry.amounts)


def _systems_within(entry: LevelEntry) -> Iterator[frozenset[int]]:
    for size in range(1, len(entry.amounts) + 1):
        yield from map(frozenset, combinations(entry.amounts, size))
