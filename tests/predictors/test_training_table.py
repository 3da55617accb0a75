from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.errors import BadTrainingSet
from predictors.training_table import (
    COLUMNS,
    TrainingTable,
    batches,
    content_hash,
    joined,
    read_table,
    say_level,
    write_rows,
    write_table,
)

NUMBERS = st.lists(st.floats(-5, 5), max_size=6)
ROW = st.fixed_dictionaries(
    {
        "formula": st.text(max_size=4),
        "lattice": NUMBERS,
        "numbers": st.lists(st.integers(1, 118), max_size=3),
        "frac_coords": NUMBERS,
        "target": st.floats(-5, 5),
        "id": st.text(max_size=4),
        "prototype": st.none() | st.text(max_size=4),
        "created_at": st.none() | st.text(max_size=4),
    }
)
ROWS = st.lists(ROW, max_size=8)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items())))


def as_written(rows: list[dict[str, Any]], query: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    write_rows(rows, sink, query)
    return sink.getvalue()


@given(ROWS, st.integers(1, 5))
def test_the_hash_is_of_the_values_however_they_are_cut(rows: list[dict[str, Any]], at_once: int) -> None:
    whole = content_hash(table_of(rows))
    cut = pa.Table.from_batches(table_of(rows).to_batches(max_chunksize=at_once), schema=table_of(rows).schema)
    assert content_hash(cut).hexdigest() == whole.hexdigest()
    assert (content_hash(cut).rows, whole.rows) == (len(rows), len(rows))


@given(ROWS.filter(bool), st.data())
def test_every_change_of_a_value_is_another_hash(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(list(COLUMNS)))
    value = data.draw(ROW)[name]
    changed = [{**row, name: value} if number == place else row for number, row in enumerate(rows)]
    before, after = (content_hash(table_of(each)).columns() for each in (rows, changed))
    same = rows[place][name] == value
    assert [column for column in COLUMNS if before[column] != after[column]] == ([] if same else [name])


def test_an_item_moved_from_one_row_to_the_next_is_another_hash() -> None:
    row = dict.fromkeys(COLUMNS)
    one, other = (
        [{**row, "lattice": first}, {**row, "lattice": second}] for first, second in ([[1], [2, 3]], [[1, 2], [3]])
    )
    assert content_hash(table_of(one)).hexdigest() != content_hash(table_of(other)).hexdigest()


def test_a_table_keeps_its_values_and_its_hash_in_any_parquet(table: Path, tmp_path: Path) -> None:
    found = read_table(table)
    frame = pd.read_parquet(table)
    frame.astype({"formula": "category"}).to_parquet(tmp_path / "pandas.parquet", compression="gzip")
    assert read_table(tmp_path / "pandas.parquet").sha256 == found.sha256
    write_table(found, tmp_path / "again.parquet")
    again = read_table(tmp_path / "again.parquet")
    assert (again.rows.equals(found.rows), again.parts) == (True, found.parts)
    say_level(tmp_path / "pandas.parquet", "pbe")
    said = read_table(tmp_path / "pandas.parquet")
    assert (said.level, said.parts[0].level, said.sha256) == ("pbe", "pbe", found.sha256)


def test_rows_written_as_they_come_say_where_they_are_from(tmp_path: Path) -> None:
    rows = [{**dict.fromkeys(COLUMNS), "formula": "NaCl", "target": -1.0 - number} for number in range(2500)]
    query = {"level": "pbe", "filter": "nelements=2"}
    assert as_written(rows, query) == as_written(rows, query)
    (tmp_path / "t.parquet").write_bytes(as_written(rows, query))
    found = read_table(tmp_path / "t.parquet")
    assert (found.level, found.parts[0].query, found.parts[0].rows) == ("pbe", query, 2500)
    assert found.rows["target"].to_pylist() == [row["target"] for row in rows]
    assert sum(batch.num_rows for batch in batches(rows)) == 2500


def test_tables_of_two_levels_are_never_joined(tmp_path: Path) -> None:
    row = {**dict.fromkeys(COLUMNS), "formula": "NaCl", "target": -1.0}
    for level in ("pbe", "r2scan"):
        (tmp_path / f"{level}.parquet").write_bytes(as_written([row], {"level": level}))
    both = [read_table(tmp_path / f"{level}.parquet") for level in ("pbe", "r2scan")]
    with pytest.raises(BadTrainingSet, match=r"r2scan\.parquet holds targets of level r2scan, not pbe"):
        joined(both, "pbe")
    unnamed = TrainingTable(both[0].rows.select(["formula", "target"]), None)
    assert joined([both[0], unnamed], "pbe").rows.column_names == ["formula", "target"]


def test_what_is_no_training_table_is_told(table: Path, tmp_path: Path) -> None:
    rows = pq.read_table(table)
    words = rows.set_column(rows.column_names.index("target"), "target", pa.array(["low"] * rows.num_rows))
    pq.write_table(words, tmp_path / "words.parquet")
    with pytest.raises(BadTrainingSet, match=r"words\.parquet: column target can't be read as double"):
        read_table(tmp_path / "words.parquet")
    holes = [[None] * 9, *rows["lattice"].to_pylist()[1:]]
    hole = rows.set_column(rows.column_names.index("lattice"), "lattice", pa.array(holes, pa.list_(pa.float64())))
    pq.write_table(hole, tmp_path / "hole.parquet")
    with pytest.raises(BadTrainingSet, match="numbers are missing within column lattice"):
        read_table(tmp_path / "hole.parquet")
    pq.write_table(rows.replace_schema_metadata({b"motherlode": b"{"}), tmp_path / "about.parquet")
    with pytest.raises(BadTrainingSet, match=r"about\.parquet: what it says of itself is damaged"):
        read_table(tmp_path / "about.parquet")
