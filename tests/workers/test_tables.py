"""Training tables from a parquet file of crystals with a column of energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from api.cli.main import cli
from predictors.splits import Split, split_of
from predictors.training_set import read_training_set
from predictors.training_table import read_table
from registry.errors import BadRecord, LodeError, SettingsError
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


def test_a_crystal_counts_once(tmp_path: Path) -> None:
    """To the last digit the same: the first row stands, whatever energy a later one has. A polymorph is no repeat."""
    path = written(
        tmp_path / "twice.parquet",
        formula=["ClNa", "ClNa", "BrK", "ClNa", "FLi", "ClNa"],
        species=["Na Cl", "Na Cl", "K Br", "Na Cl", "Li F", "Na Cl"],
        a=[4.0, 4.0, 4.0, 4.0, 4.0, 4.1],
    )
    found = tabulated(path, "e_form")
    assert found.rows["target"].tolist() == [-2.1, -2.0, -3.1, -2.0]
    assert found.rows["id"].tolist() == [f"twice.parquet:{row}" for row in (0, 2, 4, 5)]
    assert found.left_out == {"the same crystal as in an earlier row": 2}


def test_what_a_split_may_go_by_comes_along(tmp_path: Path) -> None:
    labels, moments = ["AB_cF8_225_a_b", "A_cF4_225_a"] * 3, pd.to_datetime(["2020-01-01"] * 6)
    rows = tabulated(written(tmp_path / "more.parquet", prototype=labels, created_at=moments), "e_form").rows
    assert rows["prototype"].tolist()[:2] == labels[:2]
    rows.to_parquet(tmp_path / "t.parquet")
    by_prototype = read_training_set(tmp_path / "t.parquet", split_by="prototype").splits
    assert by_prototype == [split_of(label) for label in labels]
    assert set(read_training_set(tmp_path / "t.parquet", split_by="time").splits) == {Split.TEST}  # all of one moment
    assert rows["created_at"].str.startswith("2020-01-01").all()


def test_whole_numbers_are_energies_and_words_are_not(tmp_path: Path) -> None:
    whole = tabulated(written(tmp_path / "whole.parquet", e_form=[-2, -1, -3, -1, -2, 0]), "e_form")
    assert whole.rows["target"].tolist() == [-2.0, -1.0, -3.0, -1.0, -2.0, 0.0]
    with pytest.raises(SettingsError, match=r"words\.parquet holds nothing to learn from: 6 no formula"):
        tabulated(written(tmp_path / "words.parquet"), "formula")


def test_a_table_without_rows_or_crystals_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "none.parquet")
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    with pytest.raises(SettingsError, match=r"none\.parquet holds nothing to learn from: it has no rows"):
        tabulated(path, "e_form")
    path = written(tmp_path / "flat.parquet")
    pd.read_parquet(path).drop(columns=["species", "gamma"]).to_parquet(path)
    with pytest.raises(BadRecord, match=r"flat\.parquet: lacks the columns gamma, species"):
        tabulated(path, "e_form")


SALTS = ("--target", "e_form", "--level", "mine")


def lode(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["model", "table", *arguments])


def test_on_the_command_line_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, out = str(written(tmp_path / "salts.parquet", suspect=[True] + [False] * 5)), str(tmp_path / "out.parquet")
    done = lode(path, *SALTS, "--out", out)
    assert (done.exit_code, done.stderr) == (0, "left out: 1 (marked suspect)\n")
    assert done.stdout == f"5 crystals at level mine in {out}\n"
    assert read_table(Path(out)).level == "mine"
    assert len(read_training_set(Path(out)).crystals) == 5
    before = Path(out).read_bytes()
    assert isinstance(lode(path, *SALTS, "--target", "energy", "--out", out).exception, SettingsError)
    assert Path(out).read_bytes() == before
    assert lode(path, *SALTS, "--out", path).exit_code == 2
    assert isinstance(lode(path, *SALTS, "--out", str(tmp_path)).exception, SettingsError)
    assert isinstance(lode(path, *SALTS, "--out", f"{path}/in/file.parquet").exception, LodeError)


def test_a_missing_column_and_another_file_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "salts.parquet")
    with pytest.raises(SettingsError, match=r"no column 'energy'; numbers are in: a, b, c, .*e_form"):
        tabulated(path, "energy")
    content = bytearray(path.read_bytes())
    damaged = {"text": b"no table", "empty": b"", "cut": bytes(content[:-100])}
    content[4:400] = bytes(396)
    for name, bad in (damaged | {"pages": bytes(content)}).items():
        (tmp_path / f"{name}.parquet").write_bytes(bad)
        with pytest.raises(SettingsError, match=rf"{name}\.parquet isn't a parquet table: .+"):
            tabulated(tmp_path / f"{name}.parquet", "e_form")
