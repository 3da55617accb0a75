"""Training tables by single points: parts that resume, one folder a list of crystals, targets at the level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry.crystal import Crystal
from registry.errors import SettingsError
from registry.hull.levels import Level, load_level
from tests.workers.standin import StandIn, standin_level
from workers.relabel import as_they_stand, relabel, with_targets

Record = tuple[str, Crystal]


def salts(count: int) -> list[Record]:
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    edges = np.linspace(2.5, 3.1, count)
    return [(f"salt:{n}", Crystal(cell * edge, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])) for n, edge in enumerate(edges)]


class Counting(StandIn):
    """Says how many crystals it was asked about."""

    asked = 0

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        self.asked += len(crystals)
        return super().energies(crystals)


def run(records: list[Record], folder: Path, level: Level | None = None) -> int:
    engine, told, level = Counting(), [], level or standin_level()
    relabel(records, as_they_stand(engine), level, folder, told.append, chunk=2)
    assert sum(told) == len(records)
    return engine.asked


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    assert run(salts(5), tmp_path) == 5
    (tmp_path / "part-00001.parquet").unlink()
    assert run(salts(5), tmp_path) == 2
    assert run(salts(5), tmp_path) == 0


def test_parts_of_other_crystals_are_never_mixed_in(tmp_path: Path) -> None:
    run(salts(4), tmp_path)
    with pytest.raises(SettingsError, match="parts of other crystals"):
        run(salts(5), tmp_path)


def test_parts_of_another_level_are_never_mixed_in(tmp_path: Path) -> None:
    run(salts(2), tmp_path)
    with pytest.raises(SettingsError, match="parts of other levels"):
        run(salts(2), tmp_path, standin_level("chgnet"))


def test_energies_get_the_corrections_of_their_level_and_no_others(tmp_path: Path) -> None:
    """CHGNet's have those of 2020 in them already: chlorine's alone would be -0.6 eV an atom."""
    for name, expected in (("chgnet", 0.0), ("7net-0", -0.614)):
        run(salts(1), tmp_path / name, load_level(name))
        assert with_targets(tmp_path / name, load_level(name))["correction"][0] == pytest.approx(expected, abs=1e-3)


def test_a_crystal_without_energy_is_left_out(tmp_path: Path) -> None:
    class Speechless(StandIn):
        def energies(self, crystals: Sequence[Crystal]) -> list[float]:
            return [float("nan"), *super().energies(crystals[1:])]

    relabel(salts(2), as_they_stand(Speechless()), standin_level(), tmp_path, lambda _: None)
    assert with_targets(tmp_path, standin_level())["id"].tolist() == ["salt:1"]


def test_targets_are_formation_energies_of_the_level(tmp_path: Path) -> None:
    records, level = salts(3), standin_level()
    run(records, tmp_path)
    table = with_targets(tmp_path, level)
    assert table["id"].tolist() == [name for name, _ in records]
    for row, (_, crystal) in zip(table.to_dict("records"), records, strict=True):
        corrected = row["energy"] + row["correction"]
        assert row["target"] == pytest.approx(level.formation_energy(crystal.amounts, corrected))
        assert row["formula"] == "ClNa"
        assert row["energy"] == pytest.approx(StandIn().static(crystal).energy)


def test_crystals_of_which_none_has_an_energy_are_told(tmp_path: Path) -> None:
    class Mute(StandIn):
        def energies(self, crystals: Sequence[Crystal]) -> list[float]:
            return [float("nan")] * len(crystals)

    relabel(salts(3), as_they_stand(Mute()), standin_level(), tmp_path, lambda _done: None, chunk=2)
    with pytest.raises(SettingsError, match=r"none of the crystals in .* has a formation energy at level"):
        with_targets(tmp_path, standin_level())


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lode model relabel"):
        with_targets(tmp_path, standin_level())


def test_a_potentials_fancies_are_left_out(tmp_path: Path) -> None:
    run(salts(4), tmp_path)
    part = tmp_path / "part-00000.parquet"
    rows = pd.read_parquet(part)
    rows.loc[0, "energy"] = -270.0
    rows.to_parquet(part)
    assert with_targets(tmp_path, standin_level())["id"].tolist() == ["salt:1", "salt:2", "salt:3"]
