"""Element references of a level of a potential: tabulated DFT energies, and the engine's own where the table has none.

Pretrained potentials err by more for elements than for compounds, of which they saw more: 7net-0 puts elements 0.03
eV/atom too high in the mean, molybdenum 0.16, and molecules anywhere. Every formation energy would inherit that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import Level
from registry.identity.composition import SYMBOLS
from workers.engines.base import Engine, Relaxation, Trajectory


def with_references(level: Level, engine: Engine, crystals: Iterable[Crystal], table: Mapping[str, float]) -> Level:
    """The level with the references of `table` (element -> eV/atom); other elements take what the engine gives.

    crystals: elemental ones, several polymorphs of an element allowed; others are passed over
    """
    found: dict[str, float] = {}
    for crystal in crystals:
        elements = [SYMBOLS[number] for number in crystal.amounts]
        if len(elements) == 1 and elements[0] not in table:
            energy = _relaxed_energy_per_atom(engine, crystal)
            found[elements[0]] = min(energy, found.get(elements[0], energy))
    return replace(level, references=dict(sorted({**table, **found}.items())), tabulated=tuple(sorted(table)))


def _relaxed_energy_per_atom(engine: Engine, crystal: Crystal) -> float:
    try:
        label = engine.relax(crystal, Relaxation(force_tolerance=0.02, max_steps=300), Trajectory())
    except LabelFailure:
        label = engine.static(crystal)
    return round(label.energy / label.crystal.nsites, 6)
