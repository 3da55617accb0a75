from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.anions import ALLOY, ELEMENT, anion_of
from predictors.augmentation import PlainCrystal
from predictors.bridge import Bridge, Bridged, fit_bridge
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint, BadTrainingSet
from predictors.model_files import ModelRecord
from predictors.splits import amounts_of
from predictors.structure_model import StructureModel

SHIFTS = {"Li": 0.1, "Na": -0.05, "Fe": 0.3, "Zr": 0.0, "O": -0.2, "Br": 0.02}
CATIONS = (
    "Li",
    "Na",
    "K",
    "Rb",
    "Mg",
    "Ca",
    "Sr",
    "Ba",
    "Sc",
    "Y",
    "Ti",
    "Zr",
    "Hf",
    "V",
    "Nb",
    "Cr",
    "Fe",
    "Co",
    "Ni",
)
ANIONS = {"O": -0.4, "Br": -0.25}
FORMULAS = [
    f"{cation}{a}{anion}{b}"
    for cation in ("Li", "Na", "Fe", "Zr")
    for anion in ("O", "Br")
    for a in (1, 2, 3, 5)
    for b in (1, 4, 7)
] + [f"Fe{a}Zr{b}" for a in (1, 2, 3) for b in (1, 4)]


def true_shift(formula: str) -> float:
    amounts = {symbol: float(count) for symbol, count in amounts_of(formula).items()}
    anion = anion_of(amounts)
    shifts = sum(SHIFTS[symbol] * count for symbol, count in amounts.items())
    return (shifts + ANIONS.get(anion, 0.0) * amounts.get(anion, 0.0)) / sum(amounts.values())


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    before = np.linspace(-3, 0, len(FORMULAS))
    after = before + [true_shift(formula) for formula in FORMULAS]
    return fit_bridge(("old", "new"), FORMULAS, before, after, ridge=1e-9)


def test_a_linear_shift_is_found(bridge: Bridge) -> None:
    for formula in (*FORMULAS, "LiFeO2", "Na3ZrBr7"):
        assert bridge.shift({s: float(n) for s, n in amounts_of(formula).items()}) == pytest.approx(
            true_shift(formula), abs=1e-6
        )
    assert bridge.residuals["held_out"]["mae"] < 1e-6 < bridge.residuals["raw"]["mae"]
    assert sum(told["n"] for part, told in bridge.residuals.items() if part.startswith("anion ")) == bridge.rows
    assert bridge.residuals["fitted"]["n"] + bridge.residuals["held_out"]["n"] == bridge.rows == len(FORMULAS)


def test_what_it_is_off_by_is_told_of_crystals_that_it_never_saw() -> None:
    """Of noise alone a map of many numbers fits a part: what it leaves over there is too little to promise."""
    formulas = [f"{cation}{a}{anion}{b}" for cation in CATIONS for anion in ("O", "Br") for a, b in ((1, 2), (3, 2))]
    rng, told = np.random.default_rng(0), []
    for _ in range(30):
        noise = rng.normal(0.0, 0.1, len(formulas))
        found = fit_bridge(("old", "new"), formulas, np.zeros(len(formulas)), noise, ridge=1e-3)
        told.append([found.error({"Li": 1.0, "O": 1.0}), found.residuals["fitted"]["std"], held_out(found)])
    error, fitted, strange = np.array(told).mean(axis=0)
    assert fitted < 0.75 * strange
    assert error == pytest.approx(strange, rel=0.15)


def held_out(bridge: Bridge) -> float:
    return float(np.hypot(bridge.residuals["held_out"]["mean"], bridge.residuals["held_out"]["std"]))


def test_an_element_alone_keeps_its_energy(bridge: Bridge) -> None:
    assert bridge.shift({"Fe": 4.0}) == 0.0
    assert bridge.unseen(["Xe"]) == []
    assert bridge.unseen(["Xe", "Fe", "Cl"]) == ["Cl", "Xe"]


@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.integers(1, 5))
def test_the_shift_per_atom_is_that_of_the_composition(amounts: list[int], times: int) -> None:
    found = fit_bridge(("old", "new"), FORMULAS, np.zeros(len(FORMULAS)), [true_shift(one) for one in FORMULAS])
    one = {symbol: float(count) for symbol, count in zip(("Li", "Fe", "O"), amounts, strict=True)}
    many = {symbol: times * count for symbol, count in one.items()}
    assert found.shift(many) == pytest.approx(found.shift(one), abs=1e-12)


def test_the_order_of_crystals_is_no_matter() -> None:
    energies = np.linspace(-3, 0, len(FORMULAS))
    after = energies + [true_shift(formula) for formula in FORMULAS]
    forth = fit_bridge(("old", "new"), FORMULAS, energies, after)
    back = fit_bridge(("old", "new"), FORMULAS[::-1], energies[::-1], after[::-1])
    assert back.elements == pytest.approx(forth.elements, abs=1e-9)
    assert (back.data_hash, back.crystals) == (forth.data_hash, forth.crystals)


def test_a_bridge_comes_back_from_its_file(bridge: Bridge, tmp_path: Path) -> None:
    bridge.write(tmp_path / "b.json")
    assert Bridge.read(tmp_path / "b.json") == bridge
    assert Bridge.read(tmp_path / "b.json").sha256 == bridge.sha256


def test_damage_and_other_formats_are_refused_by_name(bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    told = json.loads(bridge.text())
    wrong = {
        "isn't what was written": json.dumps({**told, "elements": {**told["elements"], "O": 1.0}}),
        "is of format 99": json.dumps({**told, "format": 99}),
        "can't be read": bridge.text()[:-9],
        "can't be read: 'format'": "{}",
    }
    for reason, text in wrong.items():
        path.write_text(text)
        with pytest.raises(BadCheckpoint, match=rf"bridge .*b\.json {reason}"):
            Bridge.read(path)
    with pytest.raises(BadCheckpoint, match=r"none\.json can't be read"):
        Bridge.read(tmp_path / "none.json")


def test_too_little_to_fit_on_is_told() -> None:
    with pytest.raises(BadTrainingSet, match="1 crystals have an energy at one of the levels alone"):
        fit_bridge(("a", "b"), ["NaCl", "KCl"], [-1.0, -1.0], [-1.0, float("nan")])
    with pytest.raises(BadTrainingSet, match="a bridge needs 20"):
        fit_bridge(("a", "b"), ["NaCl", "Fe"], [-1.0, 0.0], [-1.0, 0.0])


def test_a_model_goes_over_a_bridge_and_says_so(model: StructureModel, bridge: Bridge) -> None:
    cell = np.eye(3) * 4.0
    coords = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    salts = [PlainCrystal(cell, np.array(pair, dtype=np.int16), coords) for pair in ((11, 8), (26, 26), (11, 17))]
    ensemble = Ensemble([model, model], ModelRecord("old", (8, 11, 17, 26)))
    bridged, plain = Bridged(ensemble, bridge).predict(salts), ensemble.predict(salts)
    assert Bridged(ensemble, bridge).record.level == "new"
    assert bridged.energy[0] - plain.energy[0] == pytest.approx(true_shift("NaO"), abs=1e-6)
    np.testing.assert_allclose((bridged.member_energies - plain.member_energies)[0], true_shift("NaO"), atol=1e-6)
    assert bridged.energy[1] == plain.energy[1]
    assert np.isnan(bridged.energy[2])
    assert bridged.refused == {2: "the bridge to new was fitted without Cl"}
    assert bridge.flag({"Na": 1, "O": 1}).startswith("bridged from old to new: -0.325 +- 0.000 eV/atom")
    with pytest.raises(BadTrainingSet, match="the bridge begins at level old, the model is of other"):
        Bridged(Ensemble([model], ModelRecord("other", (8,))), bridge)


@pytest.mark.parametrize(
    ("elements", "anion"),
    [(["Na", "Cl"], "Cl"), (["Fe", "O", "Cl"], "O"), (["Fe", "Zr"], ALLOY), (["Br"], ELEMENT), (["K", "Br", "O"], "O")],
)
def test_the_anion_is_the_most_electronegative(elements: list[str], anion: str) -> None:
    assert anion_of(elements) == anion


@pytest.mark.skipif("LODE_TEST_DATA" not in os.environ, reason="LODE_TEST_DATA is unset")
def test_real_levels() -> None:
    """Real data: two sets of corrections nearly agree; PBE and r2SCAN don't, and a bridge halves what is between."""
    import pandas as pd

    folder = Path(os.environ["LODE_TEST_DATA"])
    table = pd.read_parquet(folder / "r2scan" / "rxnnet_1555.parquet").dropna(subset=["hf_gga_gga_u", "hf_r2scan"])
    table = table[~table["formula"].str.contains("·")]
    found = fit_bridge(("pbe", "r2scan"), table["formula"].tolist(), table["hf_gga_gga_u"], table["hf_r2scan"])
    assert found.residuals["held_out"]["mae"] < 0.5 * found.residuals["raw"]["mae"]
    assert abs(found.residuals["held_out"]["mean"]) < 0.02
    table = pd.read_parquet(folder / "mp_structures" / "mp_36737.parquet")
    table = table[~table["suspect"]].dropna(subset=["e_form_mp2018", "e_form_mp2019"])
    found = fit_bridge(("mp2018", "mp2019"), table["formula"].tolist(), table["e_form_mp2018"], table["e_form_mp2019"])
    assert found.residuals["held_out"]["mae"] < 0.5 * found.residuals["raw"]["mae"] < 0.002
    assert found.rows > 20_000
