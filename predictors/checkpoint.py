"""Models and training states on disk: safetensors and JSON. Loading executes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from predictors.errors import BadCheckpoint


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Tensors by group and name, and text about them."""

    groups: dict[str, dict[str, torch.Tensor]]
    about: dict[str, str]

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """Raise BadCheckpoint if the state has no such group."""
        if name not in self.groups:
            raise BadCheckpoint(f"the training state lacks {name!r}: start the member in a new folder")
        return self.groups[name]


def save_state(state: TrainingState, path: Path) -> None:
    """Replace the file in one step: a kill leaves the old state or the new one."""
    from safetensors.torch import save

    tensors = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, named in state.groups.items()
        for name, tensor in named.items()
    }
    write_atomically(path, save(tensors, metadata=state.about))


def load_state(path: Path) -> TrainingState:
    """Raise BadCheckpoint if the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            for key in file.keys():  # noqa: SIM118 -- not a dict: it can't be iterated
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read: {error}") from error
    return TrainingState(groups, about or {})


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then rename over it."""
    import os

    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
