"""A model's two files: what can be read, checked and said of them without torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from predictors.errors import BadCheckpoint

FORMAT = 2
WEIGHTS = "model.safetensors"
ABOUT = "model.json"
OF_FORMULAS = frozenset({"composition"})
"""The kinds of predictors.shapes that need no structure."""


@dataclass(frozen=True)
class ModelRecord:
    """Where a model comes from.

    level: the level of theory of its energies; elements: atomic numbers seen in training; excluded: formulas left
    out of training; data_hash: SHA-256 of the training table; rows: of it, those of excluded formulas left out;
    metrics: figures by name; code_version: of motherlode
    dataset: how the training table was split, and the parts that it was made of (predictors.training_table.Part)
    """

    level: str
    elements: tuple[int, ...]
    excluded: tuple[str, ...] = ()
    data_hash: str = ""
    rows: int = 0
    code_version: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFiles:
    """name: of the folder or the registered model; about, weights: the bytes of ABOUT and WEIGHTS."""

    name: str
    about: bytes
    weights: bytes

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raise BadCheckpoint if the folder lacks a file."""
        try:
            return cls(folder.name, (folder / ABOUT).read_bytes(), (folder / WEIGHTS).read_bytes())
        except OSError as error:
            raise BadCheckpoint(f"{folder} holds no readable model: {error}") from error

    def write(self, folder: Path) -> None:
        """Each file in one step; the folder is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS, self.weights)
        write_atomically(folder / ABOUT, self.about)

    @property
    def sha256(self) -> str:
        """Over both files: equal hashes, equal predictions."""
        return hashlib.sha256(self.about + self.weights).hexdigest()

    def checked(self) -> dict[str, Any]:
        """What ABOUT says. Raise BadCheckpoint if it is damaged, of another format, or about other weights."""
        try:
            about: dict[str, Any] = dict(json.loads(self.about))
            version, weights = about["format"], about["weights_sha256"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadCheckpoint(f"model {self.name} can't be read: {error}") from error
        if version != FORMAT:
            raise BadCheckpoint(
                f"model {self.name} is of format {version}, this code reads {FORMAT}: update motherlode"
            )
        if about.get("sha256") != hash_of(about):
            raise BadCheckpoint(f"model {self.name}: {ABOUT} isn't what was written: fetch the model again")
        if weights != hashlib.sha256(self.weights).hexdigest():
            raise BadCheckpoint(
                f"model {self.name}: {WEIGHTS} isn't the file that {ABOUT} describes: fetch the model again"
            )
        return about

    def record(self) -> ModelRecord:
        """Raise BadCheckpoint as `checked` does."""
        about = self.checked()
        try:
            return ModelRecord(
                level=about["level"],
                elements=tuple(about["elements"]),
                excluded=tuple(about["excluded"]),
                data_hash=about["data_hash"],
                rows=int(about["rows"]),
                code_version=about["code_version"],
                metrics=about["metrics"],
                dataset=about.get("dataset", {}),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadCheckpoint(f"model {self.name} can't be read: {ABOUT} lacks {error}") from error

    def needs_structure(self) -> bool:
        """Whether it predicts crystals; otherwise formulas. Raise BadCheckpoint as `checked` does."""
        config = self.checked().get("config", {})
        if not isinstance(config, dict):
            raise BadCheckpoint(f"model {self.name} can't be read: its config is {config!r:.40}")
        return config.get("kind") not in OF_FORMULAS

    def members(self) -> int:
        """How many members it has. Raise BadCheckpoint as `checked` does."""
        count = self.checked().get("members")
        if not isinstance(count, int) or count < 1:
            raise BadCheckpoint(f"model {self.name} can't be read: it has {count!r:.40} members")
        return count


def model_folder(name: str) -> Path | None:
    """The folder of that name, or `model` within it (as a training leaves it), if it holds a model."""
    found = (folder for folder in (Path(name), Path(name, "model")) if (folder / ABOUT).is_file())
    return next(found, None)


def sealed(about: Mapping[str, Any]) -> str:
    """As JSON, the same for the same values, with a hash of itself as `sha256`."""
    return json.dumps({**about, "sha256": hash_of(about)}, indent=2, sort_keys=True) + "\n"


def hash_of(about: Mapping[str, Any]) -> str:
    """SHA-256 over plain values but `sha256`, however their JSON is laid out."""
    told = {name: value for name, value in about.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then rename over it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
