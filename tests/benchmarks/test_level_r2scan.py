"""The element references of the level chgnet-r2scan: solved for from published energies, right for known compounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("chgnet", reason="the extra `potentials` isn't installed")

from benchmarks import level_r2scan
from registry.hull.levels import load_level
from workers.engines.base import engine_of

pytestmark = pytest.mark.skipif("LODE_TEST_DATA" not in os.environ, reason="LODE_TEST_DATA names no real data")

LEVEL = load_level("chgnet-r2scan")


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["LODE_TEST_DATA"])


def test_the_references_are_those_of_the_shipped_level(folder: Path):
    table = level_r2scan.level_references(folder)
    assert {element: LEVEL.references[element] for element in LEVEL.tabulated} == table
    assert sorted(LEVEL.references.keys() - table.keys()) == ["Dy", "Pm"]


def test_elements_that_both_tables_compute_alike_agree(folder: Path):
    """MatPES has other pseudopotentials of lanthanides, barium and erbium among them; of lithium to lead the same."""
    solved, matpes = level_r2scan.solved_references(folder), level_r2scan.matpes_references(folder)
    for element in ("Li", "C", "O", "Si", "Fe", "Cu", "W", "Pb", "Th", "U"):
        assert solved[element] == pytest.approx(matpes[element], abs=0.01), element
    assert abs(solved["Ho"] - matpes["Ho"]) > 1


def test_known_compounds_have_the_formation_energies_of_r2scan(folder: Path):
    known = list(level_r2scan.compounds(folder))[:24:2]
    found = level_r2scan.relaxed(engine_of(LEVEL), LEVEL, known)
    errors = level_r2scan.errors(found, LEVEL.references)
    assert errors["r2scan"]["compounds"] == 12
    assert errors["r2scan"]["mae"] < 0.04
    assert errors["r2scan"]["within_0.08"] >= 0.9
