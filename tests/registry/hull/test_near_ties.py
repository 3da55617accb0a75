"""Energies near the solver's tolerances: programs settle, at the optimum, and one way leads where another does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from registry.hull.geometry import Entry, EntryTable, compute_hull
from registry.hull.incremental import LiveHull
from registry.hull.simplex import NEAR, PRICE_TOLERANCE

LI, OXYGEN, FE, CL = 3, 8, 26, 17
ELEMENTS = (LI, OXYGEN, FE, CL)
EXACT = 1e-9
TINY = [factor * unit for unit in (1e-13, 1e-12, 1e-11, 1e-10) for factor in (-2, -1.5, -1, 1, 1.5, 2)]
ENERGIES = st.one_of(
    st.sampled_from([0.0, *TINY]), st.floats(-1e-10, 1e-10), st.sampled_from([-1.0, -0.5, -0.5 + 1e-12, 0.5])
)


@st.composite
def systems(draw: st.DrawFn) -> tuple[list[Entry], list[Entry]]:
    """The elements of 2 to 4, and compounds to put in one after another; keys repeat, and then replace."""
    elements = ELEMENTS[: draw(st.integers(2, 4))]
    tiny = st.sampled_from([0.0, 0.0, *TINY])
    amounts = st.dictionaries(st.sampled_from(elements), st.integers(1, 4), min_size=2, max_size=len(elements))
    rows = draw(st.lists(st.tuples(st.integers(0, 20), amounts, ENERGIES), min_size=1, max_size=16))
    return [Entry(100 + z, {z: 1}, draw(tiny)) for z in elements], [Entry(*row) for row in rows]


def separation(entry: Entry, entries: Sequence[Entry]) -> float:
    """Energy minus the best mixture of the other compositions, by a linear program of its own."""
    elements = sorted(entry.amounts)
    own = fractions(entry, elements)
    rest = [one for one in entries if one.amounts.keys() <= entry.amounts.keys()]
    rest = [one for one in rest if not np.allclose(fractions(one, elements), own, atol=1e-9)]
    columns = np.column_stack([fractions(one, elements) for one in rest])
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    best = linprog([one.formation_energy for one in rest], A_eq=columns, b_eq=own, options=tight)
    return entry.formation_energy - float(best.fun)


def fractions(entry: Entry, elements: Sequence[int]) -> np.ndarray:
    amounts = np.array([entry.amounts.get(z, 0) for z in elements], dtype=float)
    return amounts / amounts.sum()


@pytest.mark.parametrize("unit", [PRICE_TOLERANCE, NEAR, EXACT])
@pytest.mark.parametrize("factor", [-1.5, -1.0, -0.5, -1 / 3, 0.0, 0.1, 1 / 3, 0.5, 2 / 3, 0.99, 1.0, 1.01, 1.5])
@pytest.mark.parametrize("amounts", [{LI: 2, OXYGEN: 1}, {LI: 1, OXYGEN: 2}, {LI: 1, OXYGEN: 199}])
def test_a_compound_at_a_tolerance_is_placed(amounts: dict[int, int], factor: float, unit: float) -> None:
    elements = [Entry(-3, {LI: 1}, 0.0), Entry(-8, {OXYGEN: 1}, 0.0)]
    energy = factor * unit
    solved = compute_hull([*elements, Entry(1, amounts, energy)])[1]
    assert solved.phase_separation_energy == solved.decomposition_energy == energy
    assert solved.is_stable == (energy <= EXACT)


@settings(max_examples=150, deadline=None)
@given(systems())
def test_near_ties_are_solved_as_by_a_linear_program(system: tuple[list[Entry], list[Entry]]) -> None:
    elements, compounds = system
    entries = list({one.key: one for one in [*elements, *compounds]}.values())
    solved = compute_hull(entries)
    for entry in entries[len(elements) :]:
        result = solved[entry.key]
        assert result.phase_separation_energy == pytest.approx(separation(entry, entries), abs=EXACT)
        assert sum(share for _, share in result.competitors) == pytest.approx(1.0)
        for other in entries:
            if other.amounts.keys() <= entry.amounts.keys():
                plane = sum(n * result.chemical_potentials[z] for z, n in other.amounts.items())
                above = plane / sum(other.amounts.values()) - solved[other.key].formation_energy_per_atom
                assert above <= 2 * PRICE_TOLERANCE


@settings(max_examples=150, deadline=None)
@given(systems(), st.lists(st.integers(0, 20), max_size=5))
def test_near_ties_are_kept_current_to_the_last_bit(system: tuple[list[Entry], list[Entry]], gone: list[int]) -> None:
    elements, compounds = system
    entries = {one.key: one for one in elements}
    live = LiveHull(EntryTable.of(elements))
    for compound in compounds:
        live.update([compound])
        entries[compound.key] = compound
        assert dict(live) == dict(compute_hull(entries.values()))
    for key in dict.fromkeys(gone):
        if entries.pop(key, None):
            live.update(gone=[key])
            assert dict(live) == dict(compute_hull(entries.values()))
