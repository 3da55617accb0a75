"""The same hulls by pymatgen, to 1e-9 eV/atom: random ones with ties and duplicates, and a published one."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from registry.hull.geometry import Entry, HullResult, compute_hull

ELEMENTS = [3, 8, 15, 26, 55]
EXACT = 1e-9


@st.composite
def hulls(draw):
    """1 to 5 elements, elemental energies not zero, energies often equal, compositions often twice."""
    size = draw(st.integers(1, 5))
    numbers = ELEMENTS[:size]
    energies = st.one_of(st.sampled_from([-2.0, -1.0, -0.5, 0.0]), st.floats(-4, 1))
    rows = [({z: draw(st.integers(1, 3))}, draw(energies)) for z in numbers]
    amounts = st.dictionaries(st.sampled_from(numbers), st.integers(1, 4), min_size=1, max_size=size)
    rows += draw(st.lists(st.tuples(amounts, energies), max_size=25))
    return [Entry(key, amounts, energy) for key, (amounts, energy) in enumerate(rows)]


def pd_entry(entry: Entry) -> PDEntry:
    composition = Composition({Element.from_Z(z): n for z, n in entry.amounts.items()})
    return PDEntry(composition, entry.formation_energy * composition.num_atoms, name=str(entry.key))


def same_composition(one: PDEntry, other: PDEntry) -> bool:
    return one.composition.reduced_composition == other.composition.reduced_composition


def energy_over(entry: PDEntry, others: list[PDEntry]) -> float:
    """Energy minus the hull of others, by a new phase diagram of the elements concerned."""
    within = [other for other in others if set(other.composition) <= set(entry.composition)]
    return PhaseDiagram(within).get_decomp_and_e_above_hull(entry, allow_negative=True)[1]


def assert_as_pymatgen(entry: PDEntry, result: HullResult, everything: list[PDEntry], diagram: PhaseDiagram) -> None:
    assert result.formation_energy_per_atom == pytest.approx(diagram.get_form_energy_per_atom(entry), abs=EXACT)
    assert result.e_above_hull == pytest.approx(diagram.get_e_above_hull(entry), abs=EXACT)
    rest = [other for other in everything if other is not entry]
    if entry.composition.is_element:
        assert result.phase_separation_energy == pytest.approx(diagram.get_phase_separation_energy(entry), abs=EXACT)
        if not any(same_composition(entry, other) for other in rest):
            assert result.decomposition_energy is None
            return
    else:
        mixtures = [other for other in rest if not same_composition(entry, other)]
        assert result.phase_separation_energy == pytest.approx(energy_over(entry, mixtures), abs=EXACT)
    assert result.decomposition_energy == pytest.approx(energy_over(entry, rest), abs=EXACT)


@settings(max_examples=50, deadline=None)
@given(hulls())
def test_random_hulls(rows):
    solved = compute_hull(rows)
    everything = [pd_entry(row) for row in rows]
    diagram = PhaseDiagram(everything)
    for row, entry in zip(rows, everything, strict=True):
        assert_as_pymatgen(entry, solved[row.key], everything, diagram)
        assert sum(share for _, share in solved[row.key].decomposition) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def published():
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        pytest.skip("LODE_TEST_DATA is unset: it names the folder of published hulls")
    records = json.loads(gzip.decompress((Path(folder) / "hulls" / "mp2024_Li-Fe-P-O.json.gz").read_bytes()))
    rows = []
    for record in records:
        composition = Composition(record["composition"])
        energy = (record["energy"] + record["correction"]) / composition.num_atoms
        rows.append(Entry(record["entry_id"], {el.Z: n for el, n in composition.items()}, energy))
    return records, rows


def test_a_published_hull(published):
    records, rows = published
    solved = compute_hull(rows)
    for record in records:
        result = solved[record["entry_id"]]
        assert result.e_above_hull == pytest.approx(record["e_above_hull"], abs=EXACT)
        assert result.formation_energy_per_atom == pytest.approx(record["e_form_per_atom"], abs=EXACT)
        assert result.is_stable == record["is_stable"]


def test_a_published_hull_by_all_three_energies(published):
    _, rows = published
    solved = compute_hull(rows)
    everything = [pd_entry(row) for row in rows]
    diagram = PhaseDiagram(everything)
    for at in random.Random(0).sample(range(len(rows)), 8):
        assert_as_pymatgen(everything[at], solved[rows[at].key], everything, diagram)
        separation = diagram.get_phase_separation_energy(everything[at], stable_only=False)
        assert solved[rows[at].key].phase_separation_energy == pytest.approx(separation, abs=1e-7)  # SLSQP's tolerance
