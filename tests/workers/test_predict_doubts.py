"""What a prediction says of itself: its interval, and whether the model can be trusted with the crystal at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.model_files import ModelFiles
from registry.crystal import Crystal
from registry.errors import BadRecord
from workers.predict import predict_crystals


def pair(width: float, numbers: tuple[int, int] = (11, 17)) -> Crystal:
    return Crystal(np.eye(3) * width, list(numbers), [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize("unrelaxed", [False, True])
def test_a_stranger_is_flagged_in_words(confident_model: Path, unrelaxed: bool):
    items = [pair(4.0), pair(2.5), BadRecord("a.cif:0", "no atoms"), pair(4.0, (11, 92))]
    known, stranger, unread, refused = predict_crystals(items, ModelFiles.read(confident_model), None, unrelaxed)
    assert [row["out_of_domain"] for row in (known, stranger, unread, refused)] == [False, True, None, None]
    assert [row["interval_90"] is None for row in (known, stranger, unread, refused)] == [False, False, True, True]
    low, high = known["interval_90"]
    assert low <= known["formation_energy_per_atom"] <= high
    assert not any("domain" in flag for flag in known["flags"])
    assert any("times the distance to the training set" in flag for flag in stranger["flags"])


def test_a_model_without_a_calibration_says_nothing(tiny_model: Path):
    (row,) = predict_crystals([pair(2.5)], ModelFiles.read(tiny_model), None)
    assert row["formation_energy_per_atom"] is not None
    assert (row["interval_90"], row["out_of_domain"]) == (None, None)
    assert not any("domain" in flag for flag in row["flags"])
