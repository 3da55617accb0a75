"""One chemical system as the registry tells it: phases by formula, polymorphs, elements without a crystal."""

from __future__ import annotations

from typing import Any

import pytest

from registry.errors import FilterError, HullError, MissingReference, NotFound
from registry.hull.system import ChemicalSystem, open_system, reaction_energies, stability_ranges


def told(entries: dict[int, tuple[str, float]], references: list[str], chemsys: str = "Li-O") -> ChemicalSystem:
    """As `hull_entries` answers."""
    rows: list[dict[str, Any]] = [
        {"calculation_id": key, "id": f"lode-{key}", "reduced_formula": formula, "formation_energy_per_atom": energy}
        for key, (formula, energy) in entries.items()
    ]
    return ChemicalSystem.of({"level": "fixed", "chemsys": chemsys, "references": references, "entries": rows})


@pytest.fixture
def oxides() -> ChemicalSystem:
    return told({7: ("Li2O", -1.9), 9: ("Li2O", -2.0), 8: ("Li2O2", -1.65), 5: ("LiO2", -0.1)}, ["Li", "O"])


def test_a_formula_means_its_lowest_entry(oxides: ChemicalSystem) -> None:
    assert oxides.lowest("Li2O") == oxides.lowest("OLi2") == oxides.lowest("Li4O2") == 9
    assert oxides.lowest("LiO") == 8
    assert oxides.lowest("O2") == -8
    with pytest.raises(NotFound, match="Na2O"):
        oxides.lowest("Na2O")
    with pytest.raises(FilterError):
        oxides.lowest("Li2O2.5")


def test_ranges_name_the_crystal(oxides: ChemicalSystem) -> None:
    assert [phase["id"] for phase in stability_ranges(oxides)["phases"]] == ["lode-9", "lode-8", None, None]
    assert [phase["id"] for phase in stability_ranges(oxides, "Li2O")["phases"]] == ["lode-9"]
    assert stability_ranges(oxides, "O2")["phases"][0]["minimum"] == {"Li": None, "O": pytest.approx(0.0)}
    with pytest.raises(
        HullError, match="LiO2 isn't stable at any chemical potentials: its lowest entry lies 1 eV/atom"
    ):
        stability_ranges(oxides, "LiO2")


def test_an_element_of_its_own_and_the_level_s_compete(oxides: ChemicalSystem) -> None:
    """A crystal of oxygen above the reference isn't stable; one below it is what potentials are against."""
    above = told({1: ("O2", 0.1), 2: ("Li2O", -2.0)}, ["Li", "O"])
    below = told({1: ("O2", -0.1), 2: ("Li2O", -2.0)}, ["Li", "O"])
    assert {phase["id"] for phase in stability_ranges(above)["phases"]} == {"lode-2", None}
    assert {phase["id"] for phase in stability_ranges(below, "O2")["phases"]} == {"lode-1"}
    assert stability_ranges(below, "Li2O")["phases"][0]["minimum"]["O"] == pytest.approx(3 * -2.0 + 0.1)
    (place,) = (one for one in open_system(below, {"O": -1.0})["entries"] if one["id"] == "lode-2")
    assert place["grand_potential"] == pytest.approx((3 * -2.0 + 0.1 + 1.0) / 2)


def test_open_systems_are_told_by_formula(oxides: ChemicalSystem) -> None:
    found = open_system(oxides, {"O": -2.0})
    rows = {row["id"]: row for row in found["entries"]}
    assert [row["id"] for row in found["entries"]][:2] == ["lode-9", "lode-7"]
    assert rows["lode-7"]["decomposition"] == [{"id": "lode-9", "reduced_formula": "Li2O", "amount": 1.0}]
    assert rows["lode-5"]["taken_up"] == {"O": pytest.approx(-1.5)}


def test_reaction_energies_are_of_stable_entries(oxides: ChemicalSystem) -> None:
    energies = reaction_energies(oxides)
    assert {key for key, energy in energies.items() if energy is not None} == {9, 8, -3, -8}
    assert energies[9] == pytest.approx(-2.0 + 1.65 * 2 / 3)


def test_a_registry_without_a_hull_says_what_is_missing() -> None:
    empty = told({}, [])
    assert reaction_energies(empty) == {}
    for ask in (stability_ranges, lambda system: open_system(system, {"O": -1.0})):
        with pytest.raises(MissingReference, match="Li, O"):
            ask(empty)
