"""How fast candidates stream by: as arrays, as crystals with their lineage, with a score; and what memory it takes.

    python -m benchmarks.candidates_stream [--quick]

Parents: the prototypes that ship, and where LODE_TEST_DATA is set as many real crystals. Two ways of asking: `demo`,
the 25 elements and the settings of `make demo`; `paper`, all elements of the table with the paper's settings and room
for every candidate. CPU seconds on one core: `describe` (primitive cell, oxidation states, symmetry) for each parent,
then the stream of blocks alone (enumeration, charges, electronegativity, volumes, overlaps), then the first 3,000
candidates made into crystals with lineage and flags.

Peer: the same from parent and mapping for one candidate with pymatgen: replace the species of a Structure, predict its
volume (DLSVolumePredictor), look for atoms nearer than 0.5 A (is_valid). Ours does it for all candidates of `demo`.
Fused: scored by one member of the model that ships, against a hull, in batches of 512.
Memory: by how much the peak of the Python heap grows from 1 to 4 turns of the `demo` stream; MB.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from pymatgen.core import Element
from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor

from api.cli.demo import FAMILY
from benchmarks.candidates_volume import some_real
from benchmarks.crystals import cpu_seconds
from registry.crystal import Crystal
from registry.hull.geometry import Entry, Hull
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord
from workers.candidates.block import Block, Candidate
from workers.candidates.funnel import Funnel
from workers.candidates.generation import PAPER, Parent, Settings, blocks
from workers.candidates.novelty import KnownCompositions
from workers.candidates.parents import Described, describe
from workers.candidates.table import substitution_table

EVERY = 10**6
PAPER_ALL = replace(PAPER, per_parent=EVERY, partial_per_parent=EVERY, max_sites=20)
NOTHING_KNOWN = KnownCompositions.of([])
BATCH = 512
MADE = 3_000

Figures = dict[str, object]


def parents(count: int) -> dict[str, list[Crystal]]:
    """`count` of each source, the same at each run."""
    shipped = [one.crystal for one in read_prototypes() if isinstance(one, ImportedRecord)]
    real = {"real": list(some_real(count))} if os.environ.get("LODE_TEST_DATA") else {}
    return {"prototypes": random.Random(0).sample(shipped, count), **real}


class Stream:
    """Crystals described once, as many streams from them as wanted."""

    def __init__(self, crystals: Sequence[Crystal], family: Sequence[str], settings: Settings) -> None:
        self.family, self.settings, self.crystals = family, settings, crystals
        self.found: dict[int, Described | str] = {}
        describe(crystals[0], settings)  # reads the tables
        _, self.describing = cpu_seconds(self._describe)

    def _describe(self) -> None:
        self.found = {number: describe(crystal, self.settings) for number, crystal in enumerate(self.crystals)}

    def blocks(self, turns: int = 1) -> Any:
        """The stream; the key of a parent stands for its description."""
        numbers = {id(crystal): number for number, crystal in enumerate(self.crystals)}
        some = (Parent(number, crystal) for _ in range(turns) for number, crystal in enumerate(self.crystals))
        return blocks(
            some,
            self.family,
            self.settings,
            Funnel(),
            NOTHING_KNOWN,
            lambda crystal, _: self.found[numbers[id(crystal)]],
        )

    def counted(self, turns: int = 1) -> int:
        return sum(map(len, self.blocks(turns)))

    def candidates(self) -> Iterator[Candidate]:
        return (block.candidate(row) for block in self.blocks() for row in range(len(block)))


def rates(name: str, stream: Stream) -> Figures:
    stream.counted()  # compiles
    count, seconds = cpu_seconds(stream.counted)
    made, making = cpu_seconds(lambda: sum(1 for _ in islice(stream.candidates(), MADE)))
    return {
        f"stream_{name}_candidates": count,
        f"stream_{name}_describe_ms": 1e3 * stream.describing / len(stream.crystals),
        f"stream_{name}_arrays_per_s": count / seconds,
        f"stream_{name}_made_per_s": made / making,
    }


def against_pymatgen(stream: Stream, most: int) -> Figures:
    """The same job for a sample of substitutions, one by one, and for all of them in blocks."""
    count, seconds = cpu_seconds(stream.counted)
    rows = [(block, row) for block in stream.blocks() for row in range(len(block))]
    whole = [(block, row) for block, row in rows if block.source.operation == "ionic_substitution"]
    sample = random.Random(0).sample(whole, min(most, len(whole)))
    predictor = DLSVolumePredictor()
    _, theirs = cpu_seconds(lambda: [by_pymatgen(block, row, predictor) for block, row in sample])
    return {"stream_ratio_pymatgen": theirs / len(sample) / (seconds / count), "stream_pymatgen_sample": len(sample)}


def by_pymatgen(block: Block, row: int, predictor: DLSVolumePredictor) -> bool:
    changes: Any = block.arguments(row)["elements"]
    structure = block.source.crystal.to_pymatgen()
    structure.replace_species({Element(one): Element(other) for one, other in changes.items()})
    try:
        structure.scale_lattice(predictor.predict(structure))
    except (ValueError, KeyError):
        return False
    return bool(structure.is_valid(tol=0.5))


def fused(stream: Stream, most: int) -> Figures:
    """Scored by the first member of the shipped model."""
    try:
        from predictors.model_files import ModelFiles
        from workers.fused import Fused, Judge
        from workers.potentials import predictor_of
        from workers.train import shipped_model
    except ImportError:
        print("fused: the extra `predictors` isn't installed")
        return {}
    ensemble = predictor_of(ModelFiles.read(shipped_model("7net-0")))
    hull = Hull([Entry(number, {number: 1}, 0.0) for number in ensemble.record.elements])
    judge, funnel = Judge(0, ensemble, hull, Fused().limit), Funnel()
    rows = iter([(block, row) for block in stream.blocks() for row in range(len(block))][:most])
    count, kept, seconds = 0, 0, 0.0
    while batch := list(islice(rows, BATCH)):
        promising, took = cpu_seconds(
            lambda batch=batch: judge.promising([block.crystal(row) for block, row in batch], funnel)
        )
        count, kept, seconds = count + len(batch), kept + len(promising), seconds + took
    return {"stream_fused_per_s": count / seconds, "stream_fused_kept_share": kept / count}


def memory(stream: Stream) -> Figures:
    peaks = []
    for turns in (1, 4):
        tracemalloc.start()
        stream.counted(turns)
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    return {"stream_peak_mb": peaks[0], "stream_peak_growth_mb": peaks[1] - peaks[0]}


def measure(quick: bool) -> Figures:
    """Rates in candidates per CPU second."""
    warnings.filterwarnings("ignore")
    figures: Figures = {}
    for source, crystals in parents(25 if quick else 250).items():
        demo = Stream(crystals, FAMILY.split(), Settings(simple_anions=True))
        paper = Stream(crystals, sorted({ion.symbol for ion in substitution_table().ions}), PAPER_ALL)
        figures |= rates(f"demo_{source}", demo) | rates(f"paper_{source}", paper)
        if source == "prototypes":
            figures |= against_pymatgen(demo, 60 if quick else 500) | memory(demo)
            figures |= fused(demo, BATCH if quick else 5_000)
    print_table(figures)
    return figures


def print_table(figures: Figures) -> None:
    for name, value in figures.items():
        print(f"{name:>40}{value:>16,.4g}" if isinstance(value, float) else f"{name:>40}{value:>16,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer parents, some seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
