"""How much memory `lode export` and `lode import` take, and whether it grows with the rows.

    python -m benchmarks.memory [--quick] [--rows FEW MANY] [--formats NAME,...] [--many NAME,...] [--home FOLDER]

A registry of synthetic oxides, 20 atoms and an energy each, on an embedded PostgreSQL gives them to `lode export`, and
`lode import` brings that file into an empty registry: FEW and MANY rows, 100,000 and 1,000,000 (--quick: 4,000 and
10,000), in every format; of MANY only the formats of --many are imported. The peak is VmHWM of the command's own
process, in MB: its server isn't in it. The aim is MANY / FEW below 1.3. Random coordinates are the cheapest there is
for the search for symmetry; crystals that may belong to a family take several times as long (benchmarks/families.py).
With --home the full registries and the files stay and are used again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from benchmarks.record import registry
from benchmarks.record_data import ATOMS, NUMBERS, Synthetic, label_and_place, level
from registry import bulk
from registry.crystal import Crystal
from registry.identity.composition import Composition
from registry.identity.mixing import mixing_pairs
from registry.identity.public_id import public_id
from registry.models import HullState, Structure

AIM = 1.3
OXYGEN = 8
FORMATS, QUICK_FORMATS = "parquet,extxyz,json", "parquet,extxyz"
GRID = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3), axis=-1).reshape(-1, 3)
SHAKEN = 0.08
"""Of the cell, along each axis: atoms stay more than half an angstrom apart."""

COMMAND = """
import pathlib, re, sys
from api.cli.main import main
told = pathlib.Path(sys.argv.pop(1))
try:
    main()
finally:
    told.write_text(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@dataclass(frozen=True)
class Run:
    """What one command took; peak in MB."""

    command: str
    format: str
    rows: int
    peak: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Numbers of rows -> the formats that are imported there; all are exported at each."""

    home: Path
    formats: Sequence[str]
    imported: dict[int, Sequence[str]]

    def runs(self) -> Iterator[Run]:
        for rows in self.imported:
            folder = self.home / str(rows)
            with registry(folder) as engine:
                fill(engine, rows)
                for name in self.formats:
                    yield measured(engine, "export", name, rows, folder)
            for name in self.imported[rows]:
                with registry(None) as engine:
                    yield measured(engine, "import", name, rows, folder)


class Oxides(Synthetic):
    """Of two or three other elements, all equally common, of which no two mix; and no atoms overlap.

    So few share a formula, and few have a disordered parent: what their search takes is the business of others
    (benchmarks/duplicates.py, benchmarks/families.py).
    """

    def _amounts(self) -> dict[int, int]:
        while True:
            chosen = sorted({OXYGEN, *self._random.sample(NUMBERS, self._random.choice((2, 3)))})
            cuts = sorted(self._random.sample(range(1, ATOMS), len(chosen) - 1))
            parts = [b - a for a, b in itertools.pairwise([0, *cuts, ATOMS])]
            amounts = dict(zip(chosen, parts, strict=True))
            if not mixing_pairs(Composition.of(amounts).amounts):
                return amounts

    def _row(self, amounts: dict[int, int], composition_id: int, kind: int) -> dict[str, Any]:
        row = super()._row(amounts, composition_id, kind)
        sites = self._numbers.permutation(GRID)[:ATOMS] + self._numbers.uniform(-SHAKEN, SHAKEN, (ATOMS, 3))
        crystal = Crystal(row["lattice"], row["species"], sites)
        return {**row, "coords": crystal.frac_coords.tobytes(), "public_id": public_id(crystal)}


def fill(engine: Engine, rows: int) -> None:
    """Structures and their energies, unless they are there already."""
    with Session(engine, expire_on_commit=False) as session:
        if session.scalar(select(HullState.id).limit(1)) is not None:
            return
        crystals = Oxides(session)
        for batch in crystals.batches(rows):
            bulk.add_missing(session, Structure, "public_id", batch)
            session.commit()
        label_and_place(session, level(session), crystals.source)
        session.commit()


def measured(engine: Engine, command: str, name: str, rows: int, folder: Path) -> Run:
    """Run the command as its users do. Raises CalledProcessError."""
    file = folder / f"structures.{name}"
    arguments = {
        "export": ["export", "--format", name, "--out", str(file), "--level", "synthetic", "--json"],
        "import": ["import", str(file), "--level", "theirs", "--json"],
    }[command]
    with tempfile.TemporaryDirectory(prefix="lode-bench-") as scratch:
        peak = Path(scratch) / "peak"
        url = engine.url.render_as_string(hide_password=False)
        environment = os.environ | {"LODE_DATABASE_URL": url, "LODE_HOME": scratch}
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COMMAND, str(peak), *arguments],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return Run(command, name, rows, int(peak.read_text()) / 1024, time.perf_counter() - start)


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """Peak at the most rows over that at the fewest, for each command and format that ran at both."""
    peaks: dict[str, list[float]] = {}
    for run in runs:
        peaks.setdefault(f"{run.command} {run.format}", []).append(run.peak)
    return {name: found[-1] / found[0] for name, found in peaks.items() if len(found) > 1}


@contextmanager
def kept(home: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lode-bench-") as scratch:
        Path(scratch).chmod(0o755)  # the server may run as another user
        yield home or Path(scratch)


def chosen() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="within 60 s")
    arguments.add_argument("--rows", type=int, nargs=2, metavar=("FEW", "MANY"))
    arguments.add_argument("--formats", metavar="NAME,...", help=f"default: {FORMATS}; with --quick {QUICK_FORMATS}")
    arguments.add_argument("--many", metavar="NAME,...", help="imported at MANY; default: parquet, with --quick all")
    arguments.add_argument("--home", type=Path)
    return arguments.parse_args()


def main() -> None:
    asked = chosen()
    few, many = asked.rows or ((4_000, 10_000) if asked.quick else (100_000, 1_000_000))
    formats = (asked.formats or (QUICK_FORMATS if asked.quick else FORMATS)).split(",")
    at_many = asked.many.split(",") if asked.many else (formats if asked.quick else ["parquet"])
    runs = []
    print(f"{'command':8} {'format':8} {'rows':>10} {'peak MB':>9} {'rows/s':>8}")
    with kept(asked.home) as home:
        for run in Plan(home, formats, {few: formats, many: at_many}).runs():
            rate = run.rows / run.seconds
            print(f"{run.command:8} {run.format:8} {run.rows:10,} {run.peak:9.1f} {rate:8.0f}", flush=True)
            runs.append(run)
    report(runs)


def report(runs: Sequence[Run]) -> None:
    found = ratios(runs)
    print(f"\npeak at many rows / at few, the aim is below {AIM}")
    for name, ratio in found.items():
        print(f"{name:17} {ratio:6.2f}")
    result: dict[str, Any] = {"runs": [asdict(run) for run in runs], "ratios": found}
    print(json.dumps(result | {"met": all(ratio < AIM for ratio in found.values())}))


if __name__ == "__main__":
    main()
