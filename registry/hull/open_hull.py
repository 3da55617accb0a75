"""Hulls open to elements: a reservoir holds the chemical potential of oxygen, say, instead of its amount.

Phases then compete by the grand potential per atom of the elements that aren't open (Ong et al., Chem. Mater. 20, 1798,
2008; pymatgen's GrandPotentialPhaseDiagram):

    phi = (E - sum_o n_o mu_o) / n        E: formation energy in eV, n_o: atoms of open element o, n: all other atoms
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from registry.errors import HullError
from registry.hull.geometry import Entry, HullSolution, compute_hull
from registry.hull.phases import ENERGY_LIMIT, Key
from registry.hull.results import HullResult, Share, missing_reference
from registry.identity.composition import SYMBOLS

EQUILIBRIUM = 1e-9
"""eV per formula: a phase no lower than this is in equilibrium with the reservoir."""


@dataclass(frozen=True, slots=True)
class OpenPlace:
    """Where an entry lies on an open hull. Energies in eV, and amounts, per atom of the elements that aren't open.

    grand_potential: over the references of all elements
    decomposition: the stable phases and their shares of the atoms that aren't open; for a stable entry itself
    taken_up: open element -> atoms taken from the reservoir by the decomposition; negative: given off
    """

    key: Key
    grand_potential: float
    e_above_hull: float
    is_stable: bool
    decomposition: tuple[Share, ...]
    taken_up: dict[int, float]


@dataclass(frozen=True, slots=True)
class OpenHull:
    """One chemical system, open to some elements.

    potentials: open element -> eV/atom against its lowest entry
    places: every entry that holds an element that isn't open
    condensing: entries of open elements alone that form from the reservoir, which can't be in equilibrium then
    """

    potentials: dict[int, float]
    places: dict[Key, OpenPlace]
    condensing: tuple[Key, ...]


def open_hull(entries: Iterable[Entry], elements: Sequence[int], potentials: Mapping[int, float]) -> OpenHull:
    """The hull of one chemical system (atomic numbers) with fixed chemical potentials of its open elements.

    potentials: open element -> eV/atom against its lowest entry; entries that hold elements beyond `elements` are
    passed over. Raises HullError for open elements that aren't of the system, none or all of its elements open, and a
    potential that is no number or beyond 100 eV/atom; MissingReference for an element without an entry.
    """
    _refuse(set(elements), potentials)
    within = [entry for entry in entries if _elements(entry) <= set(elements)]
    closed = compute_hull(within)
    if missing := [element for element in sorted(set(elements)) if closed.phases.element_phase[element] < 0]:
        raise missing_reference(missing)
    grand = _grand_potentials(within, closed, potentials)
    alone = {entry.key for entry in within if _elements(entry) <= potentials.keys()}
    rest = {entry.key: entry for entry in within if entry.key not in alone}
    return OpenHull(
        dict(potentials),
        _places(rest, {key: grand[key] / _other_atoms(entry, potentials) for key, entry in rest.items()}, potentials),
        tuple(entry.key for entry in within if entry.key in alone and grand[entry.key] < -EQUILIBRIUM),
    )


def _refuse(system: set[int], potentials: Mapping[int, float]) -> None:
    if not potentials:
        raise HullError("name at least one open element with its chemical potential")
    for element, potential in potentials.items():
        if element not in system:
            raise HullError(f"{SYMBOLS[element]} can't be open: it isn't of {_named(system)}")
        if not abs(potential) <= ENERGY_LIMIT:
            raise HullError(f"{SYMBOLS[element]}={potential}: a potential is a number within ±{ENERGY_LIMIT:g} eV/atom")
    if system <= potentials.keys():
        raise HullError(f"all of {_named(system)} is open: at least one element must keep its amount")


def _named(system: Iterable[int]) -> str:
    return "-".join(sorted(SYMBOLS[element] for element in system))


def _elements(entry: Entry) -> set[int]:
    return {element for element, amount in entry.amounts.items() if amount}


def _other_atoms(entry: Entry, potentials: Mapping[int, float]) -> float:
    return sum(amount for element, amount in entry.amounts.items() if element not in potentials)


def _grand_potentials(
    within: Sequence[Entry], closed: HullSolution, potentials: Mapping[int, float]
) -> dict[Key, float]:
    """Key -> E - sum_o n_o mu_o in eV per formula as given, E over the lowest entries of the elements."""
    found = {}
    for entry, energy in zip(within, closed.formation_energies.tolist(), strict=True):
        reservoir = sum(entry.amounts.get(element, 0.0) * potential for element, potential in potentials.items())
        found[entry.key] = energy * sum(entry.amounts.values()) - reservoir
    return found


def _places(
    entries: Mapping[Key, Entry], grand: Mapping[Key, float], potentials: Mapping[int, float]
) -> dict[Key, OpenPlace]:
    scale = _scale(grand.values())
    solution = compute_hull(_without(entry, potentials, grand[key] / scale) for key, entry in entries.items())
    held = {key: _held(entry, potentials) for key, entry in entries.items()}
    return {key: _place(result, grand[key], scale, held) for key, result in solution.items()}


def _scale(energies: Iterable[float]) -> float:
    """A power of two that brings them within what a hull takes: phases of few atoms that aren't open can lie beyond."""
    most = max(map(abs, energies))
    return float(2.0 ** max(0.0, np.ceil(np.log2(most / ENERGY_LIMIT)))) if most > ENERGY_LIMIT else 1.0


def _without(entry: Entry, potentials: Mapping[int, float], energy: float) -> Entry:
    return Entry(entry.key, {z: amount for z, amount in entry.amounts.items() if z not in potentials}, energy)


def _held(entry: Entry, potentials: Mapping[int, float]) -> dict[int, float]:
    """Open element -> its atoms per atom of the others."""
    others = _other_atoms(entry, potentials)
    return {element: entry.amounts.get(element, 0.0) / others for element in potentials}


def _place(result: HullResult, grand_potential: float, scale: float, held: Mapping[Key, dict[int, float]]) -> OpenPlace:
    products = [(share, held[key]) for key, share in result.decomposition]
    taken_up = {
        element: sum(share * holds[element] for share, holds in products) - amount
        for element, amount in held[result.key].items()
    }
    return OpenPlace(
        result.key, grand_potential, result.e_above_hull * scale, result.is_stable, result.decomposition, taken_up
    )
