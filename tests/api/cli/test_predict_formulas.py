from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.cli.predict_formulas import predict_and_print
from registry.errors import NotFound
from tests.workers.models import save_tiny_composition_model

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_tiny_composition_model(tmp_path / "tiny"))


def test_formulas_are_predicted_and_bad_ones_told(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    predict_and_print(["Li2O"], model, None, as_json=True)
    assert [row["formula"] for row in json.loads(capsys.readouterr().out)] == ["Li2O"]
    with pytest.raises(SystemExit) as end:
        predict_and_print(["Li2O", "salt", "ZzO"], model, None, as_json=False)
    told = capsys.readouterr()
    assert end.value.code == 1
    assert told.err.splitlines() == [
        "lode: 'salt' isn't a chemical formula",
        "lode: 'ZzO' holds Zz: there is no such element",
    ]
    assert "Li2O" in told.out


def test_a_model_or_level_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model in a folder 'nothing'"):
        predict_and_print(["Li2O"], "nothing", None, as_json=True, no_registry=True)
    with pytest.raises(NotFound, match="no composition model ships for level '7net-0'"):
        predict_and_print(["Li2O"], None, "7net-0", as_json=True, no_registry=True)


def test_where_no_registry_answers_what_ships_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    monkeypatch.delenv("LODE_DATABASE_URL", raising=False)
    predict_and_print(["NaCl"], None, "oqmd", as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["model"] == "compositions-oqmd-v1"
    with pytest.raises(NotFound, match="no model in a folder 'nothing', and no registry to look for it: the embedded"):
        predict_and_print(["NaCl"], "nothing", None, as_json=True)
