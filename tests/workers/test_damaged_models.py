"""Models that were damaged on their way: each kind refuses by name, in one line, before anything is predicted."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.checkpoint import save_model
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint
from predictors.model_files import ABOUT, WEIGHTS, ModelFiles, ModelRecord, sealed
from predictors.published_model import PublishedConfig
from tests.api.cli.test_main import error_of
from tests.registry.importers.test_bad_files import CIF
from tests.workers.models import save_tiny_composition_model, save_tiny_model
from workers.potentials import predictor_of

Damage = Callable[[bytes], bytes]


def save_published_model(folder: Path) -> Path:
    member = PublishedConfig(width=8, steps=1, gaussians=8).build().eval()
    save_model(Ensemble([member], ModelRecord("7net-0", (11, 17))), folder)
    return folder


def save_potential(folder: Path) -> Path:
    """As it is registered; its package isn't loaded before the file has been checked."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    about = {"format": 2, "potential": "7net-0", "members": 1, "level": "7net-0", "weights_sha256": empty}
    ModelFiles("potential", sealed(about).encode(), b"").write(folder)
    return folder


KINDS: dict[str, Callable[[Path], Path]] = {
    "structure": save_tiny_model,
    "confident": lambda folder: save_tiny_model(folder, confident=True),
    "published": save_published_model,
    "composition": save_tiny_composition_model,
    "potential": save_potential,
}


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


DAMAGE: dict[str, Damage] = {
    "empty": lambda _: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "two bytes short": lambda content: content[:-2],
    "one byte long": lambda content: content + b"\0",
    "first bit": lambda content: flipped(content, 0),
    "a bit amid": lambda content: flipped(content, len(content) // 2),
    "a pickle": lambda _: pickle.dumps({"state_dict": [1.0, 2.0]}),
    "a page of the web": lambda _: b"<!DOCTYPE html><html>404</html>",
}
ABOUT_DAMAGE: dict[str, Damage] = {
    "another format": lambda content: content.replace(b'"format": 2', b'"format": 1'),
    "another level": lambda content: content.replace(b'"level": "', b'"level": "r'),
    "a list": lambda _: b"[]",
    "brackets without end": lambda _: b"[" * 100_000,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFiles]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: ModelFiles.read(save(folder / kind)) for kind, save in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_model_is_taken(saved: dict[str, ModelFiles], kind: str) -> None:
    whole = saved[kind]
    damaged = {f"{ABOUT} {what}": replace(whole, about=of(whole.about)) for what, of in (DAMAGE | ABOUT_DAMAGE).items()}
    if whole.weights:
        damaged |= {f"{WEIGHTS} {what}": replace(whole, weights=of(whole.weights)) for what, of in DAMAGE.items()}
    for what, files in damaged.items():
        with pytest.raises(BadCheckpoint, match=f"model {kind}( |:)") as told:
            predictor_of(files)
        assert "\n" not in str(told.value), what


def test_weights_of_another_model_are_not_taken(saved: dict[str, ModelFiles]) -> None:
    for kind, whole in saved.items():
        for other in saved.keys() - {kind}:
            with pytest.raises(BadCheckpoint, match=rf"model {kind}: model\.safetensors isn't the file"):
                predictor_of(replace(whole, weights=saved[other].weights + b"\0"))


@pytest.mark.parametrize("kind", ["structure", "published", "potential"])
def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("salt.cif").write_text(CIF.replace("Cs", "Na"))
    about = KINDS[kind](tmp_path / "mine") / ABOUT
    for what, said in (("another format", "is of format 1, this code reads 2"), ("a bit amid", ""), ("empty", "")):
        whole = about.read_bytes()
        about.write_bytes((DAMAGE | ABOUT_DAMAGE)[what](whole))
        code, error = error_of(monkeypatch, capsys, "predict", "salt.cif", "--model", "mine", "--no-registry")
        assert (code, len(error.splitlines())) == (1, 1)
        assert error.startswith("lode: model mine")
        assert said in error
        about.write_bytes(whole)


def test_a_file_in_place_of_a_folder_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pickled checkpoint of another program is never opened."""
    monkeypatch.chdir(tmp_path)
    Path("salt.cif").write_text(CIF)
    Path("model.pt").write_bytes(pickle.dumps({}))
    code, error = error_of(monkeypatch, capsys, "predict", "salt.cif", "--model", "model.pt", "--no-registry")
    assert (code, error.startswith("lode: no model in a folder 'model.pt'")) == (1, True)
