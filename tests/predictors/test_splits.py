from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from ase.data import chemical_symbols
from hypothesis import given
from hypothesis import strategies as st

from predictors.errors import BadTrainingSet
from predictors.splits import WAYS, Split, amounts_of, composition_key, key_of, md5_bucket, split_of, split_table

ELEMENTS = ("Li", "Na", "O", "Fe", "Cl")
FORMULAS = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 3), min_size=1).map(
    lambda amounts: "".join(f"{symbol}{amounts[symbol]}" for symbol in sorted(amounts))
)
PROTOTYPES = st.sampled_from([f"AB_cF8_{number}_a_b" for number in range(1, 60)])
MOMENTS = st.datetimes(datetime(2011, 1, 1), datetime(2026, 1, 1))
ROWS = st.lists(st.tuples(FORMULAS, PROTOTYPES, MOMENTS), max_size=60)
GROUPS: dict[str, Any] = {
    "formula": lambda formula: composition_key(formula),
    "chemsys": lambda formula: "-".join(sorted(amounts_of(formula))),
    "prototype": lambda prototype: prototype,
    "time": lambda moment: moment,
}


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    names = ("formula", "prototype", "created_at")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def test_the_bucket_is_the_md5_of_the_formula() -> None:
    assert md5_bucket("ClNa") == int(hashlib.md5(b"ClNa").hexdigest(), 16) % 100


@given(st.text(min_size=1, max_size=12))
def test_every_formula_has_one_split(formula: str) -> None:
    bucket = md5_bucket(formula)
    expected = Split.TRAIN if bucket < 80 else Split.VALIDATION if bucket < 85 else Split.TEST
    assert split_of(formula) is expected


@pytest.mark.parametrize("way", GROUPS)
@given(rows=ROWS, data=st.data())
def test_nothing_leaks_and_the_order_of_rows_is_no_matter(way: str, rows: list[Any], data: st.DataObject) -> None:
    """No composition, system, type or moment is in two parts; shuffled, each row keeps its part."""
    spelt = {composition_key(row[0]): row[0] for row in rows}
    rows = [(spelt[composition_key(row[0])], *row[1:]) for row in rows]
    table = columns_of(rows)
    parts = split_table(way, table)
    found: dict[Any, Split] = {}
    for value, part in zip(table[WAYS[way].column], parts, strict=True):
        assert found.setdefault(GROUPS[way](value), part) is part
    order = data.draw(st.permutations(range(len(rows))))
    assert split_table(way, columns_of([rows[i] for i in order])) == [parts[i] for i in order]


def test_a_given_split_is_taken_as_it_is() -> None:
    assert WAYS.keys() == GROUPS.keys() | {"given"}
    assert split_table("given", {"split": ["val", "train", "validation", "test"]}) == [
        Split.VALIDATION,
        Split.TRAIN,
        Split.VALIDATION,
        Split.TEST,
    ]
    with pytest.raises(BadTrainingSet, match="the column split says train, validation, test, val, not dev"):
        split_table("given", {"split": ["train", "dev"]})


@given(st.lists(MOMENTS, min_size=20, max_size=200, unique=True))
def test_time_learns_from_the_past(moments: list[datetime]) -> None:
    parts = split_table("time", {"created_at": [moment.isoformat() for moment in moments]})
    in_order = [part for _, part in sorted(zip(moments, parts, strict=True))]
    assert in_order == sorted(in_order, key=list(Split).index)
    assert in_order.count(Split.TRAIN) == len(moments) * 80 // 100
    assert in_order.count(Split.TEST) == len(moments) - len(moments) * 85 // 100


def test_dates_with_and_without_a_zone_are_in_one_order() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(days=day) for day in range(100)]
    mixed = [one.replace(tzinfo=None).isoformat() if day % 2 else one for day, one in enumerate(moments)]
    assert split_table("time", {"created_at": mixed}).index(Split.TEST) == 85


@pytest.mark.parametrize(
    ("way", "columns", "reason"),
    [
        ("luck", {"formula": ["NaCl"]}, "there is no split 'luck': choose formula, chemsys, prototype, time"),
        ("prototype", {"formula": ["NaCl"]}, "needs a column 'prototype'"),
        ("time", {"formula": ["NaCl"]}, "needs a column 'created_at'"),
        ("prototype", {"prototype": ["AB_cF8_225_a_b", None]}, "1 rows have no prototype"),
        ("time", {"created_at": ["2020-01-01", "yesterday"]}, "'yesterday' is no date"),
        ("chemsys", {"formula": ["NaCl", "salt"]}, "'salt' isn't a chemical formula"),
    ],
)
def test_what_cannot_be_split_is_told(way: str, columns: dict[str, list[Any]], reason: str) -> None:
    with pytest.raises(BadTrainingSet, match=reason):
        split_table(way, columns)


def test_one_composition_written_in_two_parts_is_refused() -> None:
    both = next((a, b) for a, b in (("NaCl", "ClNa"), ("KCl", "ClK"), ("LiF", "FLi")) if split_of(a) != split_of(b))
    with pytest.raises(BadTrainingSet, match=r"are one composition.*write all formulas in one way"):
        split_table("formula", {"formula": list(both)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("NaCl", "ClNa"),
        ("NaCl", "Na4Cl4"),
        ("Na2 Cl2", "Cl1 Na1"),
        ("Ca(OH)2", "CaH2O2"),
        ("Mg3(Al(SiO4)2)2", "Al2Mg3O16Si4"),
        ("Na0.5Cl0.5", "NaCl"),
        ("O2", "O"),
        ("NaClK0", "NaCl"),
    ],
)
def test_the_same_composition_has_one_key(one: str, other: str) -> None:
    assert composition_key(one) == composition_key(other)


def test_other_compositions_have_other_keys() -> None:
    assert len({composition_key(f) for f in ("CO", "Co", "CO2", "Cu2O", "CuO")}) == 5


@given(st.lists(st.integers(1, 118), min_size=1, max_size=12), st.integers(1, 3))
def test_atoms_have_the_key_of_their_formula(numbers: list[int], times: int) -> None:
    formula = "".join(chemical_symbols[number] for number in numbers)
    assert key_of(np.array(numbers * times)) == composition_key(formula)


@pytest.mark.parametrize("text", ["", " ", "nacl", "Na(Cl", "NaCl)", "Na-Cl", "Na0"])
def test_what_isnt_a_formula_is_refused(text: str) -> None:
    with pytest.raises(BadTrainingSet, match=r"formula|bracket"):
        composition_key(text)
