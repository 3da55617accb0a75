"""Several members, one opinion: the median of their energies, and their inter-quartile range as its uncertainty.

A candidate as proposed has the wrong volume. The volume scan asks for its energy at 20 volumes from 80 to 120 % and
takes the lowest (Merchant et al. 2023); one neighbour list serves all 20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from predictors.augmentation import VOLUME_FACTORS
from predictors.errors import BadCrystal, BadTrainingSet, UnknownElement
from predictors.graph import CrystalLike, Graph, batch_graphs, build_graph, scale_graph
from predictors.model_files import ModelRecord
from predictors.structure_model import ModelConfig, StructureModel

Floats = NDArray[np.float64]
CRYSTALS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Predictions:
    """Energies of n crystals by m members, eV per atom. NaN where a crystal was refused.

    energy: (n,) median of the members; spread: (n,) their inter-quartile range; member_energies: (n, m)
    volume_factor: (n,) the scaling at which the energy is lowest; 1 without a volume scan
    refused: index -> why no energy could be predicted
    """

    energy: Floats
    spread: Floats
    member_energies: Floats
    volume_factor: Floats
    refused: dict[int, str]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trained members of one shape, and where they come from."""

    members: list[StructureModel]
    record: ModelRecord

    def __post_init__(self) -> None:
        if not self.members:
            raise BadTrainingSet("an ensemble needs at least one trained member")
        if any(member.config != self.config for member in self.members):
            raise BadTrainingSet("the members of an ensemble must have one shape: train them with one config")

    @property
    def config(self) -> ModelConfig:
        return self.members[0].config

    def unknown_elements(self, crystal: CrystalLike) -> list[int]:
        """The atomic numbers of a crystal that no training crystal held."""
        return sorted({int(z) for z in crystal.numbers} - set(self.record.elements))

    def predict(
        self,
        crystals: Sequence[CrystalLike],
        members: int | None = None,
        volume_scan: bool = False,
        batch_edges: int = 40_000,
        progress: Callable[[int], None] | None = None,
    ) -> Predictions:
        """Formation energies per atom at the model's level.

        members: how many of them to ask (the first ones; all by default). volume_scan: for unrelaxed candidates; off
        for relaxed crystals. batch_edges: edges per batch, a matter of memory. progress: called with the number of
        crystals done since its last call. Call `predictors.cpu.tune_cpu` once per process before.
        A bad crystal spoils no other: its energy is NaN and `refused` says why. Raise BadTrainingSet for no members.
        """
        asked = self.members[:members]
        if not asked:
            raise BadTrainingSet("at least one member must be asked")
        factors = VOLUME_FACTORS if volume_scan else np.ones(1)
        graphs, refused = self._graphs(crystals, float(factors.min()))
        energies = np.full((len(crystals), len(factors), len(asked)), np.nan)
        indices = iter(graphs)
        with torch.inference_mode():
            while chunk := list(islice(indices, CRYSTALS_AT_ONCE)):
                self._fill(energies, chunk, graphs, factors, asked, batch_edges)
                if progress is not None:
                    progress(len(chunk))
        if progress is not None and refused:
            progress(len(refused))
        return _summary(energies, factors, refused)

    def _graphs(self, crystals: Sequence[CrystalLike], smallest: float) -> tuple[dict[int, Graph], dict[int, str]]:
        """Neighbour lists that still reach the cutoff after the volume shrinks to `smallest` of itself."""
        reach = self.config.cutoff / smallest ** (1 / 3)
        graphs, refused = {}, {}
        for index, crystal in enumerate(crystals):
            try:
                if unknown := self.unknown_elements(crystal):
                    raise UnknownElement(unknown)
                graphs[index] = build_graph(crystal, reach, self.config.max_neighbors)
            except (BadCrystal, UnknownElement) as error:
                refused[index] = str(error)
        return graphs, refused

    def _fill(
        self,
        energies: Floats,
        chunk: list[int],
        graphs: dict[int, Graph],
        factors: Floats,
        asked: list[StructureModel],
        batch_edges: int,
    ) -> None:
        """Write the energies of a chunk of crystals at all volumes by all members."""
        lengths = factors ** (1 / 3)
        jobs = (
            (index, volume, scale_graph(graphs[index], float(length), self.config.cutoff))
            for index in chunk
            for volume, length in enumerate(lengths)
        )
        for batch in _batches(jobs, batch_edges):
            rows = [index for index, _, _ in batch]
            columns = [volume for _, volume, _ in batch]
            joined = batch_graphs([graph for _, _, graph in batch])
            for position, member in enumerate(asked):
                energies[rows, columns, position] = member(joined).numpy()


def _batches(jobs: Iterator[tuple[int, int, Graph]], most_edges: int) -> Iterator[list[tuple[int, int, Graph]]]:
    batch: list[tuple[int, int, Graph]] = []
    edges = 0
    for job in jobs:
        size = len(job[2].src) + len(job[2].numbers)
        if batch and edges + size > most_edges:
            yield batch
            batch, edges = [], 0
        batch.append(job)
        edges += size
    if batch:
        yield batch


def _summary(energies: Floats, factors: Floats, refused: dict[int, str]) -> Predictions:
    """(n, volumes, members) -> the median of the members at the volume where it is lowest."""
    medians = np.median(energies, axis=2)
    best = np.argmin(medians, axis=1) if len(medians) else np.zeros(0, dtype=np.intp)
    each = np.arange(len(energies))
    chosen = energies[each, best]
    low, high = np.percentile(chosen, [25, 75], axis=1) if len(chosen) else (np.zeros(0), np.zeros(0))
    return Predictions(
        energy=medians[each, best],
        spread=high - low,
        member_energies=chosen,
        volume_factor=factors[best],
        refused=refused,
    )
