from __future__ import annotations

from pathlib import Path

import pytest

from predictors.model_files import ModelFiles
from registry.errors import NotFound, SettingsError
from tests.workers.models import save_tiny_composition_model, save_tiny_model
from workers.predict_formulas import predict_formulas, shipped_composition_model

pytest.importorskip("torch")


@pytest.fixture
def model(tmp_path: Path) -> ModelFiles:
    return ModelFiles.read(save_tiny_composition_model(tmp_path / "tiny"))


def test_a_formula_gets_an_energy_however_it_is_written(model: ModelFiles) -> None:
    first, second, other = predict_formulas(["Li2O", "O2 Li4", "NaCl"], model)
    assert (first["formula"], first["model"], first["level"]) == ("Li2O", "tiny", "mp2018")
    assert first["formation_energy_per_atom"] == pytest.approx(second["formation_energy_per_atom"], abs=1e-6)
    assert first["formation_energy_per_atom"] != pytest.approx(other["formation_energy_per_atom"], abs=1e-4)
    assert first["spread"] > 0


def test_bad_formulas_keep_their_place_and_say_why(model: ModelFiles) -> None:
    rows = predict_formulas(["salt", "NaCl", "ZzO", "FeO", "", "Li(OH"], model)
    assert [row["asked"] for row in rows] == ["salt", "NaCl", "ZzO", "FeO", "", "Li(OH"]
    assert [row["formation_energy_per_atom"] is None for row in rows] == [True, False, True, True, True, True]
    told = [row["flags"][-1] for row in rows if row["formation_energy_per_atom"] is None]
    assert "isn't a chemical formula" in told[0]
    assert told[1] == "'ZzO' holds Zz: there is no such element"
    assert "never saw Fe" in told[2]
    assert rows[3]["formula"] == "FeO"


def test_no_formula_is_no_row(model: ModelFiles) -> None:
    assert predict_formulas([], model) == []
    assert len(predict_formulas(["salt"], model)) == 1


def test_a_model_of_structures_is_refused(tmp_path: Path) -> None:
    files = ModelFiles.read(save_tiny_model(tmp_path / "structures"))
    with pytest.raises(SettingsError, match="predicts crystals, not formulas"):
        predict_formulas(["NaCl"], files)


def test_a_level_without_a_composition_model_is_named() -> None:
    with pytest.raises(NotFound, match="no composition model ships for level 'nowhere'"):
        shipped_composition_model("nowhere")


@pytest.mark.parametrize(("level", "formula", "energy"), [("mp2018", "CaF2", -4.24), ("oqmd", "NaCl", -2.05)])
def test_what_ships_knows_simple_salts(level: str, formula: str, energy: float) -> None:
    files = ModelFiles.read(shipped_composition_model(level))
    assert len(files.weights) < 3 << 20
    (row,) = predict_formulas([formula], files)
    assert row["level"] == level
    assert row["formation_energy_per_atom"] == pytest.approx(energy, abs=0.2)
    assert files.record().metrics["test_mae"] < files.record().metrics["test_single_mae"]
