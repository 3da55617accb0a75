"""Element references of a level: the lowest relaxed elemental crystal, or a tabulated energy where the engine fails.

Pretrained potentials are unreliable for molecules and molecular crystals (solid Cl2 and O2 come out far too low or
high), so H, N, O, S and the halogens take the energies that Materials Project has at the functional of the level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import Level
from registry.identity.composition import SYMBOLS
from workers.engines.base import Engine, Relaxation

TABULATED = ("H", "He", "N", "O", "F", "Ne", "S", "Cl", "Ar", "Br", "Kr", "I", "Xe")


def with_references(level: Level, engine: Engine, crystals: Iterable[Crystal], table: Mapping[str, float]) -> Level:
    """The level with the references that the engine gives; `table` (element -> eV/atom) fills in what is left.

    crystals: elemental ones, several polymorphs of an element allowed; others are passed over
    """
    found: dict[str, float] = {}
    for crystal in crystals:
        elements = [SYMBOLS[number] for number in crystal.amounts]
        if len(elements) == 1 and elements[0] not in TABULATED:
            energy = _relaxed_energy_per_atom(engine, crystal)
            found[elements[0]] = min(energy, found.get(elements[0], energy))
    tabulated = {element: energy for element, energy in table.items() if element not in found}
    return replace(level, references=dict(sorted({**tabulated, **found}.items())), tabulated=tuple(sorted(tabulated)))


def _relaxed_energy_per_atom(engine: Engine, crystal: Crystal) -> float:
    try:
        label = engine.relax(crystal, Relaxation(force_tolerance=0.02, max_steps=300), lambda: None)
    except LabelFailure:
        label = engine.static(crystal)
    return round(label.energy / label.crystal.nsites, 6)
