"""MP2020 corrections: as pymatgen gives them for real entries, and with a reason where it refuses."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
from pymatgen.entries.computed_entries import ComputedStructureEntry

from registry.crystal import Crystal
from registry.hull.mp2020 import Correction, Run, hubbards_among, mp2020_correction, mp_run, symbol_of

FILES = (
    "mp2021_Cl-Mn-Na-O-Y",  # mixed anions
    "mp2021_Li-Fe-O",
    "mp2021_Li-Fe-P-O",
    "mp2024_Li-Co-Ni-O",
    "mp2024_Li-Fe-P-O",
    "mp_correction_fit_279",  # the compounds that the scheme was fitted to: every anion, peroxides, superoxides
)
NO_STRUCTURE = "None"


def documents(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gzip.decompress((folder / "hulls" / f"{name}.json.gz").read_bytes()))
    return found


def some(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every peroxide, superoxide and ozonide, and of the others some hundred."""
    common = [one for one in found if one["oxide_type"] in ("oxide", NO_STRUCTURE)]
    return [one for one in found if one not in common] + common[:: 1 + len(common) // 100]


def structure_of(document: dict[str, Any]) -> Structure:
    written = document["structure"]
    return Structure(written["lattice"], written["species"], written["abc"])


def run_of(document: dict[str, Any]) -> Run:
    return Run(document["run_type"], document["hubbards"] or {}, tuple(document["potcars"]), document["oxide_type"])


def by_pymatgen(document: dict[str, Any], structure: Structure, data: dict[str, Any]) -> dict[str, float]:
    parameters = {"run_type": document["run_type"], "hubbards": document["hubbards"] or {}}
    entry = ComputedStructureEntry(
        structure, document["energy"], parameters={**parameters, "potcar_symbols": document["potcars"]}, data=data
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processed = MaterialsProject2020Compatibility().process_entries([entry], inplace=False)
    assert len(processed) == 1
    return {one.name: one.value for one in processed[0].energy_adjustments}


@pytest.mark.parametrize("name", FILES)
def test_real_entries_are_corrected_as_by_pymatgen(lode_test_data: Path, name: str):
    """By our reading of the crystal alone, and by what the Materials Project says of the run and of its oxygen."""
    for document in some(documents(lode_test_data, name)):
        structure = structure_of(document)
        crystal = Crystal.from_pymatgen(structure)
        alone = mp2020_correction(crystal, document["energy"])
        assert dict(alone.parts) == pytest.approx(by_pymatgen(document, structure, {})), document["entry_id"]
        told = mp2020_correction(crystal, document["energy"], run_of(document))
        oxide = {} if document["oxide_type"] == NO_STRUCTURE else {"oxide_type": document["oxide_type"]}
        assert dict(told.parts) == pytest.approx(by_pymatgen(document, structure, oxide)), document["entry_id"]
        if name != "mp_correction_fit_279":  # those are uncorrected
            assert told.energy == pytest.approx(document["correction"], abs=1e-6), document["entry_id"]


@pytest.fixture(scope="module")
def haematite() -> Crystal:
    lattice = Lattice.hexagonal(5.09, 13.77)
    return Crystal.from_pymatgen(
        Structure.from_spacegroup("R-3c", lattice, ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]])
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Run("GGA", {}), "Invalid U value of 0.0 on Fe, expected 5.3"),
        (Run("GGA+U", {"Fe": 4.0}), "Invalid U value of 4.0 on Fe, expected 5.3"),
        (Run("R2SCAN", {}), "invalid run type R2SCAN"),
        (Run("GGA+U", {"Fe": 5.3}, ("PAW_PBE Fe 06Sep2000", "PAW_PBE O 08Apr2002")), "its pseudopotentials are Fe, O"),
    ],
)
def test_a_refusal_says_what_is_wrong(haematite: Crystal, run: Run, reason: str):
    found = mp2020_correction(haematite, -240.0, run)
    assert (found.energy, dict(found.parts)) == (None, {})
    assert reason in str(found.reason)
    assert len(str(found.reason)) < 160


def test_the_run_that_mp_relax_set_would_make_is_taken(haematite: Crystal):
    assert mp_run("Fe-O") == Run("GGA+U", {"Fe": 5.3})
    assert mp_run("Fe-S") == Run("GGA", {})
    expected = {"MP2020 anion correction (oxide)": -0.687 * 18, "MP2020 GGA/GGA+U mixing correction (Fe)": -2.256 * 12}
    assert dict(mp2020_correction(haematite, -240.0).parts) == pytest.approx(expected)


def test_tungsten_of_pbe_54_counts_as_the_materials_projects_own():
    oxide = Crystal.from_pymatgen(
        Structure(Lattice.cubic(3.8), "WOOO", [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    )
    for symbol in ("W_pv", "W_sv"):
        run = Run("GGA+U", {"W": 6.2}, (f"PAW_PBE {symbol} 04Sep2015", "O"))
        assert mp2020_correction(oxide, -35.0, run).reason is None


def test_a_formula_of_many_atoms_is_no_stumbling_block():
    """Pymatgen guesses no oxidation states of more than 20 atoms, and says so by an exception."""
    cell = Structure(
        Lattice.cubic(9.0), ["Na"] * 21 + ["Cl"], [[i / 22, i * 5 / 22 % 1, i * 7 / 22 % 1] for i in range(22)]
    )
    found = mp2020_correction(Crystal.from_pymatgen(cell), -60.0)
    assert found == Correction(pytest.approx(-0.614), {"MP2020 anion correction (Cl)": pytest.approx(-0.614)})


def test_the_most_electronegative_element_says_which_values_hold():
    table = {"O": {"Fe": 5.3}, "F": {"Fe": 4.0}}
    assert hubbards_among(["Fe", "O"], table) == {"Fe": 5.3}
    assert hubbards_among(["Fe", "O", "F"], table) == {"Fe": 4.0}
    assert hubbards_among(["Fe", "S"], table) == {}


@pytest.mark.parametrize(
    ("written", "symbol"),
    [("PAW_PBE Fe_pv 06Sep2000", "Fe_pv"), ("PBE Li_sv", "Li_sv"), ("O", "O"), ("PAW O_s 04May1998", "PAW O_s")],
)
def test_pseudopotentials_by_their_symbol(written: str, symbol: str):
    assert symbol_of(written) == symbol
