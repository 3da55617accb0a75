"""Training tables from a parquet file of crystals with a column of energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from predictors.training_set import read_training_set
from registry.errors import SettingsError
from workers.tables import tabulated


def written(path: Path, **columns: list[object]) -> Path:
    """Six salts, each column of which may be replaced."""
    count = 6
    given: dict[str, list[object]] = {
        "formula": ["ClNa", "ClK", "BrK", "BrNa", "FLi", "ClCs"],
        **{name: [edge] * count for name, edge in zip("abc", (4.0, 4.0, 4.0), strict=True)},
        **{name: [90.0] * count for name in ("alpha", "beta", "gamma")},
        "species": ["Na Cl", "K Cl", "K Br", "Na Br", "Li F", "Cs Cl"],
        "frac_coords": [[0.0, 0.0, 0.0, 0.5, 0.5, 0.5]] * count,
        "e_form": [-2.1, -2.2, -2.0, -1.9, -3.1, -2.0],
        "suspect": [False] * count,
    }
    pd.DataFrame(given | columns).to_parquet(path)
    return path


def test_rows_keep_the_tables_own_formulas_and_targets(tmp_path: Path) -> None:
    found = tabulated(written(tmp_path / "salts.parquet"), "e_form")
    assert found.rows["formula"].tolist() == ["ClNa", "ClK", "BrK", "BrNa", "FLi", "ClCs"]
    assert found.rows["target"].tolist() == [-2.1, -2.2, -2.0, -1.9, -3.1, -2.0]
    assert found.left_out == {}
    found.rows.to_parquet(tmp_path / "table.parquet")
    data = read_training_set(tmp_path / "table.parquet")
    np.testing.assert_allclose(data.crystals[0].lattice, np.eye(3) * 4, atol=1e-9)
    assert data.crystals[1].numbers.tolist() == [19, 17]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    energies = [None, float("nan"), -2.0, -1.9, -3.1, -2.0]
    path = written(
        tmp_path / "bad.parquet",
        e_form=energies,
        suspect=[False, False, True, False, False, False],
        species=["Na Cl", "K Cl", "K Br", "Na Xx", "Li F", "Cs Cl"],
    )
    found = tabulated(path, "e_form")
    assert found.rows["formula"].tolist() == ["FLi", "ClCs"]
    assert found.left_out == {"no e_form": 2, "marked suspect": 1, "no crystal": 1}


def test_a_table_without_formulas_gets_ours(tmp_path: Path) -> None:
    path = written(tmp_path / "bare.parquet")
    pd.read_parquet(path).drop(columns="formula").to_parquet(path)
    assert tabulated(path, "e_form").rows["formula"].tolist()[0] == "ClNa"


def test_a_missing_column_and_another_file_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "salts.parquet")
    with pytest.raises(SettingsError, match=r"no column 'energy'; numbers are in: a, b, c, .*e_form"):
        tabulated(path, "energy")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(SettingsError, match="isn't a parquet table"):
        tabulated(tmp_path / "text.parquet", "e_form")
