from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.errors import BadTrainingSet
from predictors.splits import Split, composition_key, md5_bucket, split_of


def test_the_bucket_is_the_md5_of_the_formula() -> None:
    assert md5_bucket("ClNa") == int(hashlib.md5(b"ClNa").hexdigest(), 16) % 100


@given(st.text(min_size=1, max_size=12))
def test_every_formula_has_one_split(formula: str) -> None:
    bucket = md5_bucket(formula)
    expected = Split.TRAIN if bucket < 80 else Split.VALIDATION if bucket < 85 else Split.TEST
    assert split_of(formula) is expected


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
    ],
)
def test_the_same_composition_has_one_key(one: str, other: str) -> None:
    assert composition_key(one) == composition_key(other)


def test_other_compositions_have_other_keys() -> None:
    assert len({composition_key(f) for f in ("CO", "Co", "CO2", "Cu2O", "CuO")}) == 5


@pytest.mark.parametrize("text", ["", " ", "nacl", "Na(Cl", "NaCl)", "Na-Cl", "Na0"])
def test_what_isnt_a_formula_is_refused(text: str) -> None:
    with pytest.raises(BadTrainingSet, match=r"formula|bracket"):
        composition_key(text)
