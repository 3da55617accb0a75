"""SevenNet models of one's own, as safetensors and JSON: the same energies, and nothing is run when they are read."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sevenn", reason="the extra `potentials` isn't installed")

from predictors.augmentation import PlainCrystal
from predictors.errors import BadCheckpoint
from predictors.model_files import ABOUT, WEIGHTS, ModelFiles, sealed
from predictors.potentials.base import raw_energies
from predictors.potentials.trained import TrainedSevenNet, load_trained, trained_files

CONFIG: dict[str, Any] = {
    "cutoff": 4.0,
    "channel": 4,
    "lmax": 1,
    "num_convolution_layer": 2,
    "weight_nn_hidden_neurons": [8],
    "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 4},
    "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 3.5},
    "conv_denominator": [3.0, 3.0],
    "shift": [-1.0, -2.0],
    "scale": [1.5, 1.5],
    "_type_map": {17: 0, 11: 1},
    "_number_of_species": 2,
    "load_dataset_path": ["/home/somebody/secret.extxyz"],
}
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
SALT = PlainCrystal(FCC * 2.82, np.array([11, 17]), np.array([[0, 0, 0], [0.51, 0.5, 0.5]]))


@pytest.fixture(scope="module")
def network() -> Any:
    """Weights by chance, seeded."""
    import torch
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
    from sevenn.model_build import build_E3_equivariant_model

    torch.manual_seed(0)
    return build_E3_equivariant_model({**DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG, **CONFIG})


@pytest.fixture(scope="module")
def files(network: Any) -> ModelFiles:
    return trained_files("tiny", CONFIG, network)


@pytest.fixture
def folder(files: ModelFiles, tmp_path: Path) -> Path:
    files.write(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_model_of_ones_own_gives_the_energies_of_its_network(network: Any, files: ModelFiles, folder: Path):
    from ase import Atoms
    from sevenn.calculator import SevenNetCalculator

    potential = load_trained(folder, files.sha256)
    atoms = Atoms(SALT.numbers, cell=SALT.lattice, scaled_positions=SALT.frac_coords, pbc=True)
    expected = []
    for calculator in (SevenNetCalculator(network, file_type="model_instance", device="cpu"), potential.calculator):
        atoms.calc = calculator
        expected.append((atoms.get_potential_energy(), atoms.get_forces()))
    assert expected[1][0] == pytest.approx(expected[0][0], abs=1e-6)
    assert expected[1][1] == pytest.approx(expected[0][1], abs=1e-6)
    found, refused = raw_energies(potential, [SALT, replace(SALT, numbers=np.array([11, 35]))])
    assert found[0, 0] == pytest.approx(expected[0][0], abs=1e-5)
    assert list(refused) == [1]
    assert (potential.name, potential.elements) == ("tiny", (11, 17))
    assert potential.version.startswith(files.sha256[:16])


def test_it_says_nothing_of_the_training(files: ModelFiles):
    assert b"somebody" not in files.about
    assert json.loads(files.about)["config"]["numbers"] == [17, 11]


def test_another_model_than_the_one_named_is_refused(folder: Path):
    with pytest.raises(BadCheckpoint, match="holds another model than the level names"):
        load_trained(folder, "0" * 64)


@pytest.mark.parametrize("name", [ABOUT, WEIGHTS])
def test_damaged_files_are_refused(files: ModelFiles, folder: Path, name: str):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadCheckpoint, match="another model"):
        load_trained(folder, files.sha256)
    with pytest.raises(BadCheckpoint, match=f"{ABOUT} isn't what was written|isn't the file that|can't be read"):
        TrainedSevenNet(ModelFiles.read(folder))
    (folder / name).unlink()
    with pytest.raises(BadCheckpoint, match="no readable model"):
        load_trained(folder, files.sha256)


class Harmful:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_in_the_place_of_weights_is_not_run(files: ModelFiles, tmp_path: Path):
    """Even if the hashes are right."""
    weights = pickle.dumps(Harmful(tmp_path / "ran"))
    about = json.loads(files.about) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    with pytest.raises(BadCheckpoint, match="builds no network"):
        TrainedSevenNet(ModelFiles("tiny", sealed(about).encode(), weights))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"act_radial": "os.system"},
        {"irreps_manual": ["__import__('os')"]},
        {"lmax": "two"},
        {"channel": 5},
        {"numbers": [17, "Na"]},
        {"radial_basis": {"radial_basis_name": "bessel", "eval": "1"}},
    ],
)
def test_an_architecture_that_is_none_or_of_other_weights_is_refused(files: ModelFiles, change: dict[str, Any]):
    about = json.loads(files.about)
    about["config"] |= change
    with pytest.raises(BadCheckpoint, match="model tiny builds no network"):
        TrainedSevenNet(ModelFiles("tiny", sealed(about).encode(), files.weights))


def test_what_two_files_can_not_tell_is_refused_when_it_is_stored(network: Any):
    with pytest.raises(BadCheckpoint, match="several fidelities"):
        trained_files("mf", {**CONFIG, "use_modality": True}, network)
    with pytest.raises(BadCheckpoint, match="isn't plain values"):
        trained_files("odd", {**CONFIG, "shift": object()}, network)


def test_a_model_of_ones_own_is_a_label_engine(files: ModelFiles, folder: Path):
    from registry.crystal import Crystal
    from workers.engines.potential import PotentialEngine

    engine = PotentialEngine(load_trained(folder, files.sha256))
    label = engine.static(Crystal(SALT.lattice, SALT.numbers, SALT.frac_coords))
    assert engine.energies([label.crystal]) == pytest.approx([label.energy], abs=1e-5)
    assert (engine.name, engine.version[:16]) == ("tiny", files.sha256[:16])
