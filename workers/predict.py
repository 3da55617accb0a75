"""Predictions for crystals that nobody stored: energy, interval, place on the hull, nearest known crystals, flags.

A crystal is placed on the hull of all *other* crystals: entries of the same crystal, where there are any, are left
out. So `decomposition_energy` says how stable it is, by the model, not by how much model and label differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from predictors.model_files import ModelFiles
from registry.crystal import Crystal
from registry.database import long_transaction
from registry.errors import BadRecord, LevelMismatch, MissingReference, SettingsError
from registry.hull.entries import LevelEntries, level_entries
from registry.hull.geometry import Entry, Hull, HullPoint
from registry.hull.level_rows import level_id
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.duplicates import Identity
from registry.nearest import Neighbourhood, neighbourhoods
from workers.bridge import over, say_bridge
from workers.candidates.filters import flags, neighbour_pairs
from workers.potentials import predictor_of
from workers.score import interval_90

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.predictor import Predictions, Progress

WIDE_SPREAD = 0.1  # eV/atom: members that disagree by more know nothing
MANY_ELEMENTS = 12  # a crystal of more has so many subsystems that the whole level is read
UNKNOWN_ENERGY: dict[str, Any] = {
    "formula": None,
    "formation_energy_per_atom": None,
    "spread": None,
    "interval_90": None,
    "out_of_domain": None,
    "bridge": None,
    "flags": [],
}
UNKNOWN = UNKNOWN_ENERGY | {
    "e_above_hull": None,
    "decomposition_energy": None,
    "decomposition": None,
    "chemical_potentials": None,
    "hull_without": [],
    "nearest": [],
}

Elements = frozenset[int]
Row = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What a registry says of crystals: the level's entries in their chemical systems, and the neighbours of each."""

    level: LevelEntries
    neighbourhoods: Sequence[Neighbourhood]


@dataclass(frozen=True)
class OpenHull:
    """The hull of a level, with or without some of its entries; a small one for each chemical system, when asked."""

    level: LevelEntries
    _hulls: dict[tuple[Elements, frozenset[int]], Hull] = field(default_factory=dict)

    @cached_property
    def _systems(self) -> dict[Elements, list[Entry]]:
        found: dict[Elements, list[Entry]] = {}
        for entry in self.level.entries:
            found.setdefault(frozenset(entry.amounts), []).append(entry)
        return found

    def at(self, crystal: Crystal, without: frozenset[int] = frozenset()) -> HullPoint:
        """The hull at a crystal's composition. Raises MissingReference, naming the elements without entry."""
        key = frozenset(crystal.amounts), without
        if key not in self._hulls:
            self._hulls[key] = self._hull(*key)
        return self._hulls[key].energy_at(crystal.amounts)

    def _hull(self, elements: Elements, without: frozenset[int]) -> Hull:
        within = [entry for system, entries in self._systems.items() if system <= elements for entry in entries]
        entries = [entry for entry in within if entry.key not in without]
        if missing := elements - {number for entry in entries for number in entry.amounts if len(entry.amounts) == 1}:
            raise MissingReference([SYMBOLS[number] for number in sorted(missing)])
        return Hull(entries)


def known_of(session: Session, crystals: Sequence[Crystal], level: str) -> Known:
    """What a registry knows of crystals, by queries whose number doesn't depend on theirs. Raises NotFound (level)."""
    long_transaction(session)  # thousands of crystals are compared in it
    entries = level_entries(session, level_id(session, level), _systems_of(crystals))
    return Known(entries, neighbourhoods(session, [Identity(crystal) for crystal in crystals], level))


def _systems_of(crystals: Sequence[Crystal]) -> list[str] | None:
    """Every chemical system within that of a crystal; None: all there are."""
    found: set[tuple[str, ...]] = set()
    for elements in {Composition.of(crystal.amounts).elements for crystal in crystals}:
        if len(elements) > MANY_ELEMENTS:
            return None
        found |= {part for size in range(1, len(elements) + 1) for part in combinations(elements, size)}
    return ["-".join(part) for part in sorted(found)]


def predict_crystals(
    items: Sequence[Crystal | BadRecord],
    model: ModelFiles,
    known: Known | None,
    unrelaxed: bool = False,
    progress: Progress | None = None,
    bridge: Bridge | None = None,
) -> list[Row]:
    """One dict per item, in order; energies in eV/atom, None where they can't be had (`flags` says why).

    items: crystals, and in the place of those that can't be read why not
    known: what a registry knows of the crystals at the level of the energies, or None to say nothing of it
    progress: told how many more crystals are predicted
    bridge: from the model's level to the one that the energies are to be of
    Raises LevelMismatch when the entries are of another level, SettingsError for a model of formulas.
    """
    if not items:
        return []
    if not model.needs_structure():
        raise SettingsError(
            f"model '{model.name}' predicts formulas, not crystals: ask it by --formula, or name another one"
        )
    level = bridge.to_level if bridge is not None else model.record().level
    if known is not None and known.level.level != level:
        raise LevelMismatch(
            f"model '{model.name}' predicts at level '{level}', the hull is of level '{known.level.level}'"
        )
    crystals = [item for item in items if isinstance(item, Crystal)]
    found = over(predictor_of(model), bridge).predict(crystals, volume_scan=unrelaxed, progress=progress)
    predicted = iter(_predicted(crystals, found, known, bridge))
    rows = [UNKNOWN | {"flags": [item.reason]} if isinstance(item, BadRecord) else next(predicted) for item in items]
    said = {"model": model.name, "level": level}
    return [{"index": index, **row, **said} for index, row in enumerate(rows)]


def _predicted(
    crystals: Sequence[Crystal], found: Predictions, known: Known | None, bridge: Bridge | None
) -> list[Row]:
    hull = OpenHull(known.level) if known is not None else None
    rows = []
    for index, crystal in enumerate(crystals):
        energy = float(found.energy[index])
        row = _row(crystal, found, index)
        near = known.neighbourhoods[index] if known is not None else Neighbourhood()
        row["nearest"] = near.nearest
        if index in found.refused:
            row["flags"].append(found.refused[index])
        else:
            say_bridge(row, crystal, bridge)
            _place(row, crystal, energy, hull, near)
        rows.append(row)
    return rows


def _row(crystal: Crystal, found: Predictions, index: int) -> Row:
    marks: list[str] = list(flags(crystal, neighbour_pairs(crystal)))
    said: Row = {}
    if np.isfinite(found.energy[index]):
        said = figures_of(found, index)
        marks += doubts_about(found, index)
    return UNKNOWN | {"formula": Composition.of(crystal.amounts).reduced_formula, "flags": marks} | said


def figures_of(found: Predictions, index: int) -> Row:
    interval = interval_90(found, index)
    return {
        "formation_energy_per_atom": float(found.energy[index]),
        "spread": float(found.spread[index]) if np.isfinite(found.spread[index]) else None,  # one potential has none
        "interval_90": list(interval) if interval else None,
        "out_of_domain": None if found.outside is None else index in found.outside,
    }


def doubts_about(found: Predictions, index: int) -> list[str]:
    """Why an energy shouldn't be trusted."""
    doubts = ["wide spread: the members disagree"] if found.spread[index] > WIDE_SPREAD else []
    outside = (found.odd | (found.outside or {})).get(index)
    return [*doubts, outside] if outside else doubts


def _place(row: Row, crystal: Crystal, energy: float, hull: OpenHull | None, near: Neighbourhood) -> None:
    """Against the hull of all other crystals; of the only entry of an element against that entry itself."""
    if hull is None:
        return
    try:
        point = hull.at(crystal, near.entries)
    except MissingReference as missing:
        if not near.entries or len(crystal.amounts) > 1:
            row["flags"].append(f"no place on the hull: {missing}")
            return
        row["flags"].append("decomposition_energy: the level has no other entry of this element")
        row |= _placed(energy, hull.at(crystal), hull.level) | {"decomposition_energy": None}
        return
    row |= _placed(energy, point, hull.level) | {"hull_without": near.same if near.entries else []}


def _placed(energy: float, point: HullPoint, level: LevelEntries) -> Row:
    below = energy - point.energy
    return {
        "e_above_hull": max(below, 0.0),
        "decomposition_energy": below,
        "decomposition": [
            {"reduced_formula": level.formulas[int(key)], "amount": share} for key, share in point.decomposition
        ],
        "chemical_potentials": {SYMBOLS[number]: value for number, value in point.chemical_potentials.items()},
    }
