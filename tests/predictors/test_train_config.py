from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.errors import BadConfig
from predictors.shapes import kind_of
from predictors.train_config import TrainConfig, config_of, read_config, values_of
from predictors.train_plan import MemberPlan

TOML = """
epochs = 60
learning_rate = 1e-3
[model]
kind = "published"
width = 64
[perturbation]
probability = 0.5
"""


def test_a_file_says_what_isnt_as_usual(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TOML)
    config = read_config(tmp_path / "plan.toml")
    assert (config.epochs, config.learning_rate, config.perturbation.probability) == (60, 1e-3, 0.5)
    assert (kind_of(config.model), values_of(config)["model"]["width"]) == ("published", 64)
    assert config.batch_size == TrainConfig().batch_size
    (tmp_path / "plan.json").write_text(json.dumps(values_of(config)))
    assert read_config(tmp_path / "plan.json") == config
    assert read_config(None) == TrainConfig()


def test_what_the_command_line_says_comes_last(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TOML)
    config = read_config(tmp_path / "plan.toml", {"epochs": 3, "model": {"steps": 2}})
    values = values_of(config)
    assert (values["epochs"], values["model"]["width"], values["model"]["steps"]) == (3, 64, 2)


@given(
    kind=st.sampled_from(["structure", "published", "composition"]),
    epochs=st.integers(1, 500),
    patience=st.none() | st.integers(1, 20),
    rate=st.floats(0, 1),
    copies=st.integers(0, 9),
)
def test_values_come_back(kind: str, epochs: int, patience: int | None, rate: float, copies: int) -> None:
    values = {"epochs": epochs, "patience": patience, "learning_rate": rate, "copies": copies, "model": {"kind": kind}}
    config = config_of(values)
    assert config_of(json.loads(json.dumps(values_of(config)))) == config


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 10**20},
        {"model": {"kind": ["structure"]}},
        {"model": {"cutoff": 1000.0}},
        {"model": {"width": 10**12}},
        {"model": {"kind": "composition", "frequencies": 2000}},
    ],
)
def test_what_no_machine_could_hold_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        config_of(values)


def test_formulas_are_not_perturbed() -> None:
    assert config_of({"model": {"kind": "composition"}}).perturbation.probability == 0.0
    assert config_of({"model": {"kind": "structure"}}).perturbation.probability > 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"epochs": 0}, "epochs = 0: it should be greater than or equal to 1"),
        ({"epochs": "many"}, "epochs = 'many': it should be a valid integer"),
        ({"epoch": 3}, "there is no epoch; there are model, perturbation"),
        ({"learning_rate": float("nan")}, "learning_rate = nan: it should be a finite number"),
        ({"bootstrap": 1}, "bootstrap = 1: it should be a valid boolean"),
        ({"patience": 0}, "patience = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"model": 3}, "model is a table"),
        ({"model": {"kind": "dense"}}, "no kind 'dense': choose structure, published, composition"),
        ({"model": {"width": -1}}, "model of kind structure: width = -1: it should be a number above 0"),
        ({"model": {"dropout": 1.0}}, "dropout = 1.0: it should be from 0 to below 1"),
        ({"model": {"kind": "published", "max_neighbors": 3}}, "model of kind published: there is no max_neighbors"),
        ({"perturbation": {"probability": 2}}, "probability = 2.0: it should be between 0 and 1"),
        (
            {"model": {"kind": "composition"}, "perturbation": {"probability": 0.5}},
            "a composition model sees no structure that could be perturbed: perturbation.probability is 0.5",
        ),
        ({"model": {"kind": "composition", "needs_structure": True}}, "there is no needs_structure; there are width"),
    ],
)
def test_a_bad_value_is_told(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadConfig) as caught:
        config_of(values)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("plan.toml", "epochs = ", "can't be read"),
        ("plan.json", "[1]", "is a table of names and values"),
        ("plan.yaml", "", r"ends in \.toml or \.json"),
        ("plan.toml", "epochs = -1", r"plan\.toml: epochs = -1"),
    ],
)
def test_a_bad_file_is_told(name: str, text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadConfig, match=reason):
        read_config(tmp_path / name)
    with pytest.raises(BadConfig, match="can't be read"):
        read_config(tmp_path / "none.toml")


def test_a_plan_comes_back(plan: TrainConfig, tmp_path: Path) -> None:
    told = MemberPlan(tmp_path / "t.parquet", tmp_path / "m", plan, 4, "chemsys", ("NaCl",))
    told.write(tmp_path / "plan.json")
    assert MemberPlan.read(tmp_path / "plan.json") == told
    for text in ("{", "{}", "[]", '{"table": "t", "folder": "f", "config": {}, "excluded": [], "luck": 1}'):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(BadConfig, match="is no plan"):
            MemberPlan.read(tmp_path / "plan.json")
