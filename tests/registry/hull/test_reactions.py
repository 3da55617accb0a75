"""Equilibrium reaction energies, by hand and by pymatgen, which is asked about stable entries only."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from registry.hull.geometry import Entry, compute_hull
from registry.hull.reactions import equilibrium_reaction_energies

LI, OXYGEN = 3, 8
EXACT = 1e-9


@st.composite
def generic_hulls(draw: st.DrawFn) -> list[Entry]:
    """2 to 4 elements without ties: of phases on a tie line pymatgen's qhull may or may not call each stable."""
    numbers = [3, 8, 26, 64][: draw(st.integers(2, 4))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    amounts = [{number: 1} for number in numbers]
    for _ in range(draw(st.integers(0, 25))):
        held = rng.choice(numbers, size=rng.integers(2, len(numbers) + 1), replace=False)
        amounts.append({int(number): int(rng.integers(1, 5)) for number in held})
    return [Entry(key, one, float(rng.uniform(-3, 0.5))) for key, one in enumerate(amounts)]


def pd_entry(entry: Entry) -> PDEntry:
    composition = Composition({Element.from_Z(number): count for number, count in entry.amounts.items()})
    return PDEntry(composition, entry.formation_energy * composition.num_atoms, name=str(entry.key))


def assert_as_pymatgen(rows: list[Entry]) -> int:
    """The number of entries compared."""
    solution = compute_hull(rows)
    energies = equilibrium_reaction_energies(solution)
    diagram = PhaseDiagram([pd_entry(row) for row in rows])
    stable = {entry.name: entry for entry in diagram.stable_entries}
    assert set(stable) == {str(row.key) for row in rows if solution[row.key].is_stable}
    for row, energy in zip(rows, energies, strict=True):
        if str(row.key) in stable:
            expected = diagram.get_equilibrium_reaction_energy(stable[str(row.key)])
            assert energy == pytest.approx(expected, abs=EXACT)
        else:
            assert np.isnan(energy)
    return len(stable)


@settings(max_examples=60, deadline=None)
@given(generic_hulls())
def test_random_hulls_as_pymatgen(rows: list[Entry]) -> None:
    assert assert_as_pymatgen(rows) >= 2


@pytest.mark.parametrize("name", ["mp2024_Li-Fe-P-O", "mp2021_Cl-Mn-Na-O-Y"])
def test_published_hulls_as_pymatgen(name: str) -> None:
    assert assert_as_pymatgen(published(name)) > 30


def published(name: str) -> list[Entry]:
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        pytest.skip("LODE_TEST_DATA is unset: it names the folder of published hulls")
    rows = []
    for record in json.loads(gzip.decompress((Path(folder) / "hulls" / f"{name}.json.gz").read_bytes())):
        composition = Composition(record["composition"])
        energy = (record["energy"] + record["correction"]) / composition.num_atoms
        rows.append(Entry(record["entry_id"], {element.Z: n for element, n in composition.items()}, energy))
    return rows


def test_it_passes_over_what_only_the_entry_itself_keeps_off_the_hull() -> None:
    """LiO lies above the line from Li2O to O2; without Li2O it would be on the hull, and it isn't a competitor."""
    rows = [
        Entry("Li", {LI: 1}, 0.0),
        Entry("O2", {OXYGEN: 2}, 0.0),
        Entry("Li2O", {LI: 2, OXYGEN: 1}, -2.0),
        Entry("LiO", {LI: 1, OXYGEN: 1}, -1.0),
    ]
    solution = compute_hull(rows)
    lithium, oxygen, oxide, peroxide = equilibrium_reaction_energies(solution)
    assert (lithium, oxygen) == (0.0, 0.0)
    assert oxide == pytest.approx(-2.0)
    assert solution["Li2O"].phase_separation_energy == pytest.approx(-2.0 + 1.0 * 2 / 3)
    assert np.isnan(peroxide)


def test_where_all_entries_are_stable_it_is_the_phase_separation_energy_to_the_last_bit() -> None:
    rows = [Entry(1, {LI: 1}, 0.1), Entry(2, {OXYGEN: 1}, 0.2), Entry(3, {LI: 2, OXYGEN: 1}, -2.0)]
    solution = compute_hull(rows)
    assert equilibrium_reaction_energies(solution).tolist() == solution.phase_separation_energies.tolist()


def test_polymorphs_and_refused_entries_have_none() -> None:
    rows = [Entry(1, {LI: 1}, 0.0), Entry(2, {LI: 1}, 0.1), Entry(3, {LI: 1, OXYGEN: 1}, -1.0)]
    first, second, refused = equilibrium_reaction_energies(compute_hull(rows))
    assert first == 0.0
    assert np.isnan([second, refused]).all()
    assert len(equilibrium_reaction_energies(compute_hull([]))) == 0
