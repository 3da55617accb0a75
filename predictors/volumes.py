"""Crystals at many volumes, in batches: what is alike in asking an ensemble and a pretrained potential."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from predictors.errors import BadCrystal, UnknownElement
from predictors.graph import CrystalLike
from predictors.predictor import Floats


class Encoder(Protocol):
    """What makes a crystal an input: the configs of our models, and potentials."""

    def scaled(self, encoded: Any, factor: float) -> Any: ...
    def cost(self, encoded: Any) -> int: ...


@dataclass
class Batch:
    """Inputs that are computed at once; of each the row (crystal) and the column (volume) of its result."""

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    cost: int = 0

    def add(self, row: int, column: int, encoded: Any, cost: int) -> None:
        self.rows.append(row)
        self.columns.append(column)
        self.inputs.append(encoded)
        self.cost += cost


def encode_all(
    crystals: Sequence[CrystalLike], encode: Callable[[CrystalLike], Any]
) -> tuple[dict[int, Any], dict[int, str]]:
    """The inputs by their crystals' indices, and why the others have none."""
    encoded, refused = {}, {}
    for index, crystal in enumerate(crystals):
        try:
            encoded[index] = encode(crystal)
        except (BadCrystal, UnknownElement) as error:
            refused[index] = str(error)
    return encoded, refused


def batches(encoder: Encoder, encoded: Mapping[int, Any], lengths: Floats, most: int) -> Iterator[Batch]:
    """Each input with its lengths scaled by each of `lengths`, in batches of cost `most`; a larger one goes alone."""
    batch = Batch()
    for row, each in encoded.items():
        for column, length in enumerate(lengths.tolist()):
            made = encoder.scaled(each, length)
            cost = encoder.cost(made)
            if batch.inputs and batch.cost + cost > most:
                yield batch
                batch = Batch()
            batch.add(row, column, made, cost)
    if batch.inputs:
        yield batch
