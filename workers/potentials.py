"""Pretrained potentials as models of the levels that they are named for.

A potential has a model's two files like every model, but its weights are its package's: one file says which potential,
of which version, and the other is empty. So it can be registered, promoted and asked like a trained one.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

from sqlalchemy.orm import Session

from predictors.errors import BadCheckpoint, NoFormationEnergy
from predictors.graph import CrystalLike
from predictors.model_files import FORMAT, ModelFiles, ModelRecord, sealed
from predictors.potentials.base import FormationEnergy, PotentialPredictor
from predictors.potentials.named import POTENTIALS, load_potential
from predictors.predictor import Predictor
from registry.crystal import Crystal
from registry.errors import MissingExtra
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level, load_level
from workers.train import register_files


def potential_files(name: str) -> ModelFiles:
    """One of POTENTIALS as a model. Raises PotentialMissing where its package isn't installed.

    What it learnt from isn't here: the hash in its place is that of the version, which stands for it.
    """
    potential = load_potential(name)
    data = hashlib.sha256(potential.version.encode()).hexdigest()
    record = ModelRecord(name, potential.elements, data_hash=data, code_version=potential.version)
    about = {
        "format": FORMAT,
        "potential": name,
        "members": 1,
        **asdict(record),
        "weights_sha256": hashlib.sha256(b"").hexdigest(),
    }
    return ModelFiles(name, sealed(about).encode(), b"")


def register_potential(session: Session, name: str) -> int:
    """The id of a potential's model, written with its level where they are missing.

    Raises PotentialMissing, and SettingsError where another version of it is registered.
    """
    files = potential_files(name)
    ensure_level(session, load_level(name))
    return register_files(session, name, files)


def predictor_of(files: ModelFiles) -> Predictor:
    """A stored model, or the potential that it names, ready to predict in this process.

    Raises BadCheckpoint, PotentialMissing, MissingExtra.
    """
    if (potential := files.checked().get("potential")) is not None:
        return _potential(files, str(potential))
    try:
        from predictors.checkpoint import model_from
        from predictors.cpu import tune_cpu

        tune_cpu(1)
        return model_from(files)
    except ModuleNotFoundError as missing:
        raise MissingExtra(missing.name or "a package", "predictors") from missing


def _potential(files: ModelFiles, name: str) -> PotentialPredictor:
    if name not in POTENTIALS:
        raise BadCheckpoint(f"model {files.name} is potential '{name}', this code has {', '.join(POTENTIALS)}")
    record, potential = files.record(), load_potential(name)
    if record.code_version != potential.version:
        raise BadCheckpoint(f"model {files.name} is of {record.code_version}, installed is {potential.version}")
    return PotentialPredictor(potential, record, formation_energy_at(load_level(record.level)))


def formation_energy_at(level: Level) -> FormationEnergy:
    """What turns raw energies of the level's engine into formation energies: its corrections and its references."""

    def formation_energy(crystal: CrystalLike, energy: float) -> float:
        known = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords)
        if (barred := level.bars(known.amounts)) is not None:
            raise NoFormationEnergy(barred)
        correction = level.correct(known, energy)
        if correction.energy is None:
            raise NoFormationEnergy(correction.reason or "the level's corrections refuse it")
        return level.formation_energy(known.amounts, energy + correction.energy)

    return formation_energy
