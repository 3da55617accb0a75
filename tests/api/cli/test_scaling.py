from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from api.cli.scaling import scaling
from predictors.errors import BadTrainingSet
from predictors.splits import Split, split_of
from predictors.training_table import of_level
from tests.predictors.conftest import random_crystal, write_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    crystals = [random_crystal(rng, 4) for _ in range(420)]
    return write_table(tmp_path_factory.mktemp("data") / "train.parquet", crystals)


def test_the_command_writes_a_report_and_prints_it(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = [str(table), "--sizes", "20,40,80", "--epochs", "1", "--elements", "3", "--out", str(out)]
    result = CliRunner().invoke(scaling, [*call, "--test", f"again={table}", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert {"test", "more_elements", "again"} <= set(printed["curves"])
    assert printed == json.loads((out / "scaling.json").read_text())
    text = CliRunner().invoke(scaling, call, catch_exceptions=False).output
    assert "exponent" in text
    assert "scaling.png" in text


def test_a_table_to_be_judged_on_may_hold_nothing_to_learn_from_but_no_other_level(table: Path, tmp_path: Path) -> None:
    rows = pq.read_table(table)
    held_out = rows.filter([split_of(formula) is Split.TEST for formula in rows["formula"].to_pylist()])
    for level in ("a", "b"):
        pq.write_table(of_level(rows, level), tmp_path / f"{level}.parquet")
        pq.write_table(of_level(held_out, level), tmp_path / f"{level}_test.parquet")
    call = [str(tmp_path / "a.parquet"), "--sizes", "20,40,80", "--epochs", "1", "--elements", "3", "--json"]
    done = CliRunner().invoke(
        scaling, [*call, "--test", f"new={tmp_path / 'a_test.parquet'}", "--out", str(tmp_path / "out")]
    )
    assert (done.exit_code, json.loads(done.stdout)["curves"]["new"]["n"]) == (0, held_out.num_rows)
    with pytest.raises(BadTrainingSet, match="of the levels a and b"):
        CliRunner().invoke(
            scaling,
            [*call, "--test", f"new={tmp_path / 'b_test.parquet'}", "--out", str(tmp_path / "never")],
            catch_exceptions=False,
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--sizes", "20,many"], "list of numbers"),
        (["--test", "table.parquet"], "isn't NAME=TABLE"),
        (["--test", "a=x", "--test", "a=y"], "named twice"),
    ],
)
def test_a_wrong_call_is_told(table: Path, tmp_path: Path, options: list[str], reason: str) -> None:
    result = CliRunner().invoke(scaling, [str(table), "--out", str(tmp_path), *options])
    assert result.exit_code == 2
    assert reason in result.output


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadTrainingSet, match="no training table"):
        CliRunner().invoke(scaling, [str(tmp_path / "no"), "--out", str(tmp_path)], catch_exceptions=False)
