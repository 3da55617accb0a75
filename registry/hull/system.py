"""One chemical system as the registry tells it, and what follows from its energies for people: pure.

What comes in is the answer of `registry.query.materials.hull_entries`; what goes out is ready to be printed. Elements
that the level puts at zero take part under the key -Z; no crystal stands behind them, so their id is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from registry.errors import HullError, NotFound
from registry.hull.geometry import Entry, HullSolution, compute_hull
from registry.hull.open_hull import OpenPlace, open_hull
from registry.hull.phases import Key
from registry.hull.reactions import equilibrium_reaction_energies
from registry.hull.stability_domains import StabilityDomain, stability_domains
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from registry.query.values import formula_amounts

Row = dict[str, Any]


@dataclass(frozen=True)
class ChemicalSystem:
    """Entries over the references of their level, in eV/atom, by calculation id.

    level: None where no level has a hull yet; chemsys: as in "Fe-Li-O"
    formulas, ids: key -> reduced formula, key -> public id of the crystal
    """

    level: str | None
    chemsys: str
    entries: tuple[Entry, ...]
    formulas: Mapping[Key, str]
    ids: Mapping[Key, str | None]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> ChemicalSystem:
        rows = found["entries"]
        elements = {-ATOMIC_NUMBERS[element]: element for element in found["references"]}
        stand_ins = [Entry(key, {-key: 1}, 0.0) for key in elements]
        formulas = {row["calculation_id"]: row["reduced_formula"] for row in rows}
        ids = {row["calculation_id"]: row["id"] for row in rows}
        entries = (*map(_entry, rows), *stand_ins)
        return cls(found["level"], found["chemsys"], entries, formulas | elements, ids | dict.fromkeys(elements))

    @cached_property
    def solution(self) -> HullSolution:
        return compute_hull(self.entries)

    @property
    def elements(self) -> list[int]:
        return sorted(ATOMIC_NUMBERS[element] for element in self.chemsys.split("-"))

    def lowest(self, formula: str) -> Key:
        """The entry of lowest energy of a formula in any order or multiple. Raises NotFound, FilterError."""
        wanted = formula_amounts(formula)
        same = [entry for entry in self.entries if formula_amounts(self.formulas[entry.key]) == wanted]
        if not same:
            raise NotFound(f"nothing of formula {formula} has a place on the hull of {self.chemsys}")
        return min(same, key=lambda entry: (entry.formation_energy, entry.key)).key

    def named(self, key: Key) -> Row:
        return {"id": self.ids[key], "reduced_formula": self.formulas[key]}


def reaction_energies(system: ChemicalSystem) -> dict[Key, float | None]:
    """The equilibrium reaction energy of every entry, eV/atom; None for unstable ones."""
    keys, energies = system.solution.table.keys.tolist(), equilibrium_reaction_energies(system.solution)
    return {key: None if np.isnan(energy) else float(energy) for key, energy in zip(keys, energies, strict=True)}


def stability_ranges(system: ChemicalSystem, phase: str | None = None) -> Row:
    """Chemical potentials, eV/atom against the elements' lowest entries, at which each phase is stable; or this one.

    Phases with most elements first. minimum is None where a potential has no lower bound.
    Raises MissingReference, NotFound for a phase without entry, HullError for one that isn't stable.
    """
    key = None if phase is None else _stable(system, phase)
    domains = stability_domains(system.solution, system.elements)
    chosen = [domain for domain in domains.values() if key is None or domain.key == key]
    chosen.sort(key=lambda domain: (len(domain.unbounded), system.formulas[domain.key]))
    phases = [{**system.named(domain.key), **_range(domain)} for domain in chosen]
    return {"level": system.level, "chemsys": system.chemsys, "phases": phases}


def open_system(system: ChemicalSystem, potentials: Mapping[str, float]) -> Row:
    """The hull with fixed chemical potentials (eV/atom against the lowest entry) of some elements; nearest first.

    Energies and amounts are per atom of the elements that aren't open. Raises as `open_hull` does.
    """
    opened = {ATOMIC_NUMBERS[element]: potential for element, potential in potentials.items()}
    hull = open_hull(system.entries, system.elements, opened)
    places = sorted(hull.places.values(), key=lambda one: (one.e_above_hull, not one.is_stable, str(one.key)))
    return {
        "level": system.level,
        "chemsys": system.chemsys,
        "open": dict(potentials),
        "reservoir_forms": sorted({system.formulas[key] for key in hull.condensing}),
        "entries": [{**system.named(place.key), **_open_place(system, place)} for place in places],
    }


def _entry(row: Mapping[str, Any]) -> Entry:
    amounts = _by_number(formula_amounts(row["reduced_formula"]))
    return Entry(row["calculation_id"], amounts, row["formation_energy_per_atom"])


def _by_number(amounts: Mapping[str, int]) -> dict[int, int]:
    return {ATOMIC_NUMBERS[element]: count for element, count in amounts.items()}


def _stable(system: ChemicalSystem, phase: str) -> Key:
    key = system.lowest(phase)
    place = system.solution[key]
    if not place.is_stable:
        above = f"its lowest entry lies {place.e_above_hull:.4g} eV/atom above the hull"
        raise HullError(f"{system.formulas[key]} isn't stable at any chemical potentials: {above}")
    return key


def _range(domain: StabilityDomain) -> Row:
    return {
        "minimum": {SYMBOLS[element]: value for element, value in domain.minimum.items()},
        "maximum": {SYMBOLS[element]: value for element, value in domain.maximum.items()},
        "vertices": [
            {SYMBOLS[element]: value for element, value in zip(domain.elements, vertex, strict=True)}
            for vertex in domain.vertices.tolist()
        ],
    }


def _open_place(system: ChemicalSystem, place: OpenPlace) -> Row:
    return {
        "grand_potential": place.grand_potential,
        "e_above_hull": place.e_above_hull,
        "is_stable": place.is_stable,
        "decomposition": [{**system.named(key), "amount": share} for key, share in place.decomposition],
        "taken_up": {SYMBOLS[element]: amount for element, amount in place.taken_up.items()},
    }
