"""One member's training as a file, and the program that runs it: alone, or as one of the processes of torchrun.

python -m predictors.train_plan [--attended] PLAN.json
torchrun --nproc-per-node 2 -m predictors.train_plan [--attended] PLAN.json

--attended: end when the standard input does, which whoever started it holds open.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from predictors.errors import BadConfig, PredictorError
from predictors.model_files import write_atomically
from predictors.train_config import TrainConfig, config_of, values_of

ORPHANED = 75
"""Exit code where whoever started the training has gone."""


@dataclass(frozen=True)
class MemberPlan:
    """table: what to learn from; split, excluded: see `read_training_set`; folder: takes checkpoint and metrics;
    seed: the member's own."""

    table: Path
    folder: Path
    config: TrainConfig
    seed: int
    split: str = "formula"
    excluded: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """As JSON."""
        paths = {"table": str(self.table.resolve()), "folder": str(self.folder.resolve())}
        rest = {"seed": self.seed, "split": self.split, "excluded": self.excluded, "config": values_of(self.config)}
        write_atomically(path, json.dumps({**paths, **rest}, indent=2).encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raise BadConfig if the file is no plan."""
        try:
            told = json.loads(path.read_text())
            paths = {name: Path(told.pop(name)) for name in ("table", "folder")}
            return cls(**{**told, **paths, "config": config_of(told["config"]), "excluded": tuple(told["excluded"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadConfig(f"{path} is no plan of a training: {error}") from error

    def run(self) -> None:
        """Train to the end, or go on where the folder stands. Raise PredictorError."""
        from predictors.train import train_member
        from predictors.training_set import read_training_set

        structures = self.config.model.needs_structure
        data = read_training_set(self.table, self.excluded, split_by=self.split, structures=structures)
        for _ in train_member(data, self.folder, self.config, self.seed):
            pass


def _end_with_input() -> None:
    """At once: an epoch that is half done is lost, as by any other kill."""
    while os.read(0, 1024):  # not through sys.stdin: its lock, held by a thread, makes the interpreter abort as it ends
        pass
    os._exit(ORPHANED)


def main() -> None:
    """Run the plan that the command line names; 1 and one line for what its user can mend."""
    parser = argparse.ArgumentParser(prog="python -m predictors.train_plan")
    parser.add_argument("--attended", action="store_true")
    parser.add_argument("plan", type=Path)
    asked = parser.parse_args()
    if asked.attended:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        MemberPlan.read(asked.plan).run()
    except PredictorError as error:
        sys.exit(f"lode: {error}")


if __name__ == "__main__":
    main()
