"""The loop judged against the textbook: which known ground states it found, and how many chance would have found.

The only reader of textbook.json. Nothing that generates, scores or selects may import this module: without the table
(`load_textbook` of a missing file is an empty list) every selection is the same, and only the judgement is empty.
Whoever trains the shipped model has to leave the table's formulas out.

What counts as a match is said in `workers.validation.reference`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.prototype import prototype_of
from workers.validation.reference import Reference

TIE = 0.002
"""eV/atom. Energies closer than this are not told apart."""

NEAR_HULL = 0.025
"""eV/atom above the hull: about the thermal energy at room temperature."""

Outcome = Literal[
    "right structure", "tied", "another lower", "relaxed away", "label failed", "not selected", "never generated"
]
FOUND: tuple[Outcome, ...] = ("right structure", "tied", "another lower")


@dataclass(frozen=True)
class TextbookCompound:
    """One row of the table: the structure at ambient conditions, and the distortions that count as well."""

    reduced_formula: str
    structure_type: str
    strukturbericht: str
    protostructure: str
    reference: Reference
    accepted: tuple[Reference, ...]
    certainty: str
    note: str

    @property
    def elements(self) -> set[str]:
        return set(self.protostructure.rpartition(":")[2].split("-"))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        plain = {key: row[key] for key in ("structure_type", "strukturbericht", "protostructure", "certainty", "note")}
        accepted = tuple(Reference.from_row(one) for one in row["accepted"])
        return cls(reduced_formula=row["formula"], reference=Reference.from_row(row), accepted=accepted, **plain)

    @property
    def references(self) -> tuple[Reference, ...]:
        return (self.reference, *self.accepted)

    def matches(self, crystal: Crystal) -> bool:
        """Whether a relaxed crystal is this compound in its textbook structure (or an accepted distortion)."""
        return any(reference.matches(crystal) for reference in self.references)

    def may_become(self, crystal: Crystal) -> bool:
        """Whether an unrelaxed crystal should count as this structure: it matches, or shares the type and elements.

        More generous than `matches`, because a parent's proportions relax. Candidates of other types that would relax
        into it are not foreseen.
        """
        return _protostructure(crystal) in {one.protostructure for one in self.references} or self.matches(crystal)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A structure that the run could have sent to a label, as generated (unrelaxed).

    predicted: predicted decomposition energy, eV/atom, and its rank when the round picked; None if never picked
    failure: why its label failed, if it was tried and did
    scored: formation energy by one member, eV/atom; None if never scored
    """

    id: str
    reduced_formula: str
    crystal: Crystal
    predicted: float | None = None
    rank: int | None = None
    failure: str | None = None
    scored: float | None = None


@dataclass(frozen=True, eq=False)
class Label:
    """A label's outcome, under the id of the candidate it belongs to (others, as of known crystals, are only rivals).

    crystal: the relaxed structure; energies in eV/atom
    competing_phases: whether the hull held anything but elements and this composition in the chemical system
    """

    id: str
    reduced_formula: str
    crystal: Crystal
    energy_per_atom: float
    e_above_hull: float
    competing_phases: bool


Row = TypeVar("Row", Candidate, Label)


@dataclass(frozen=True)
class TextbookRow:
    """What became of one compound; energies in eV/atom.

    label_id: the label that matched, lowest in energy; None if not found
    margin: its energy above the lowest other structure of the composition that was labelled; None without such a rival
    rivals: how many labelled structures of the composition do not match
    chance: probability that as many labels drawn at random would have found it
    """

    reduced_formula: str
    structure_type: str
    spacegroup_number: int
    outcome: Outcome
    reason: str
    label_id: str | None
    e_above_hull: float | None
    margin: float | None
    rivals: int
    competing_phases: bool | None
    chance: float
    note: str

    @property
    def found(self) -> bool:
        return self.outcome in FOUND

    @property
    def right(self) -> bool:
        return self.outcome in ("right structure", "tied")


@dataclass(frozen=True)
class TextbookReport:
    """The rows and what they add up to. `labels` counts the candidates that were tried, failures among them."""

    rows: tuple[TextbookRow, ...]
    candidates: int
    labels: int

    @property
    def asked(self) -> int:
        return len(self.rows)

    @property
    def found(self) -> int:
        return sum(row.found for row in self.rows)

    @property
    def random_found(self) -> float:
        """Expected number found by as many labels drawn uniformly, without replacement, from the same candidates."""
        return sum(row.chance for row in self.rows)

    @property
    def right_structure(self) -> int:
        """Found, and no other labelled structure of the composition lower by TIE or more."""
        return sum(row.right for row in self.rows)

    @property
    def tied(self) -> int:
        """Those of `right_structure` that hold only as a tie: another structure is lower, by less than TIE."""
        return sum(row.outcome == "tied" for row in self.rows)

    @property
    def with_rivals(self) -> int:
        """Found, and not alone: a lone structure is trivially the lowest of its composition."""
        return sum(row.found and row.rivals > 0 for row in self.rows)

    @property
    def right_with_rivals(self) -> int:
        return sum(row.right and row.rivals > 0 for row in self.rows)

    @property
    def within_25mev(self) -> int:
        return sum(row.found and row.e_above_hull is not None and row.e_above_hull <= NEAR_HULL for row in self.rows)

    @property
    def no_competition(self) -> int:
        """Found compounds in whose system no other compound stood: their distance to the hull says little."""
        return sum(row.found and row.competing_phases is False for row in self.rows)

    @property
    def misses(self) -> tuple[TextbookRow, ...]:
        """All that are not both found and right; each says why in `reason`."""
        return tuple(row for row in self.rows if not row.right)

    def summary(self) -> dict[str, float]:
        """The counts under the names of the demo's JSON line."""
        return {
            "asked": self.asked,
            "found": self.found,
            "random_found": round(self.random_found, 2),
            "right_structure": self.right_structure,
            "tied": self.tied,
            "within_25meV": self.within_25mev,
            "no_competition": self.no_competition,
            "with_rivals": self.with_rivals,
            "right_with_rivals": self.right_with_rivals,
            "candidates": self.candidates,
            "labels": self.labels,
        }

    def as_dict(self) -> dict[str, Any]:
        return {**self.summary(), "rows": [asdict(row) for row in self.rows]}


def load_textbook(path: Path | None = None) -> list[TextbookCompound]:
    """The table; an empty list if the file does not exist."""
    path = path or Path(__file__).with_name("textbook.json")
    if not path.exists():
        return []
    return [TextbookCompound.from_row(row) for row in json.loads(path.read_text(encoding="utf-8"))["compounds"]]


def judge(
    textbook: Iterable[TextbookCompound], candidates: Iterable[Candidate], labels: Iterable[Label]
) -> TextbookReport:
    """Compare a run with the table.

    A compound is found when a label of one of the candidates relaxed into its structure. For chance, a labelled
    candidate counts as it relaxed and any other by `may_become`.
    """
    pool, labelled = list(candidates), {label.id: label for label in labels}
    tried = sum(one.id in labelled or one.failure is not None for one in pool)
    generated, relaxed = _by_formula(pool), _by_formula(labelled.values())
    rows = [
        _judge_compound(one, generated[one.reduced_formula], relaxed[one.reduced_formula], len(pool), tried)
        for one in textbook
    ]
    return TextbookReport(tuple(rows), len(pool), tried)


def chance_of_finding(matching: int, candidates: int, labels: int) -> float:
    """Probability that `labels` drawn without replacement from `candidates` hold one of the `matching`.

    1 - C(N-m, n) / C(N, n), as a product of m factors: exact for any size.
    """
    if matching == 0:
        return 0.0
    return 1.0 - prod(max(candidates - labels - i, 0) / (candidates - i) for i in range(matching))


def _by_formula(rows: Iterable[Row]) -> defaultdict[str, list[Row]]:
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.reduced_formula].append(row)
    return grouped


def _judge_compound(
    compound: TextbookCompound, generated: list[Candidate], relaxed: list[Label], candidates: int, tried: int
) -> TextbookRow:
    ids = {one.id for one in generated}
    alike = [label for label in relaxed if compound.matches(label.crystal)]
    found = min((label for label in alike if label.id in ids), key=_energy, default=None)
    rivals = [label for label in relaxed if label not in alike]
    lowest = min(rivals, key=_energy, default=None)
    matching = _matching(compound, generated, {label.id for label in relaxed}, {label.id for label in alike})
    if found is None:
        outcome, reason = _why_missed(compound, generated, rivals, matching)
    else:
        outcome, reason = _ranked(found, lowest)
    return TextbookRow(
        reduced_formula=compound.reduced_formula,
        structure_type=compound.structure_type,
        spacegroup_number=compound.reference.spacegroup,
        outcome=outcome,
        reason=reason,
        label_id=found.id if found else None,
        e_above_hull=found.e_above_hull if found else None,
        margin=found.energy_per_atom - lowest.energy_per_atom if found and lowest else None,
        rivals=len(rivals),
        competing_phases=found.competing_phases if found else None,
        chance=chance_of_finding(len(matching), candidates, tried),
        note=compound.note,
    )


def _energy(label: Label) -> tuple[float, str]:
    return label.energy_per_atom, label.id


def _matching(
    compound: TextbookCompound, generated: list[Candidate], labelled: set[str], alike: set[str]
) -> list[Candidate]:
    """The candidates whose label would have found the compound."""
    return [one for one in generated if (one.id in alike if one.id in labelled else compound.may_become(one.crystal))]


def _ranked(found: Label, lowest: Label | None) -> tuple[Outcome, str]:
    if lowest is None:
        return "right structure", "the only structure labelled of its composition"
    above = found.energy_per_atom - lowest.energy_per_atom
    if above <= 0:
        return "right structure", f"{-1000 * above:.1f} meV/atom below the next structure ({_named(lowest.crystal)})"
    if above < TIE:
        return "tied", f"tie: another structure lower by {1000 * above:.1f} meV/atom ({_named(lowest.crystal)})"
    return "another lower", f"another structure lower by {1000 * above:.1f} meV/atom ({_named(lowest.crystal)})"


def _why_missed(
    compound: TextbookCompound, generated: list[Candidate], rivals: list[Label], matching: list[Candidate]
) -> tuple[Outcome, str]:
    """The step that came nearest: a label that relaxed away, one that failed, a candidate not selected, none at all."""
    crystals = {one.id: one.crystal for one in generated}
    strayed = [one for one in rivals if one.id in crystals and compound.may_become(crystals[one.id])]
    if strayed:
        return "relaxed away", f"relaxed to another prototype ({_named(min(strayed, key=_energy).crystal)})"
    failed = [one for one in matching if one.failure is not None]
    if failed:
        return "label failed", f"label failed: {failed[0].failure}"
    if matching:
        return "not selected", _not_selected(matching)
    if generated:
        return "never generated", f"never generated (its composition was, in {len(generated)} other structures)"
    return "never generated", "never generated"


def _not_selected(matching: list[Candidate]) -> str:
    picked = [(one.predicted, one.rank) for one in matching if one.predicted is not None]
    if not picked:
        energies = [one.scored for one in matching if one.scored is not None]
        known = f"formation energy by one member {min(energies):+.3f} eV/atom" if energies else "never scored"
        return f"generated, not among those that the ensemble looked at ({known})"
    predicted, rank = min(picked, key=lambda row: row[0])
    place = "" if rank is None else f", rank {rank}"
    return f"generated, not selected (predicted decomposition energy {predicted:+.3f} eV/atom{place})"


def _named(crystal: Crystal) -> str:
    return _protostructure(crystal) or "no symmetry found"


def _protostructure(crystal: Crystal) -> str | None:
    try:
        return prototype_of(crystal).protostructure
    except BadRecord:
        return None
