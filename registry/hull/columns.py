"""Columns of one table that grow together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Arrays of one length that grow together; they are longer than `size`, and others after each `growth`."""

    def __init__(self, blank: Mapping[str, float] | None = None, **columns: NDArray[Any]) -> None:
        """blank: what further rows hold in columns that `append` doesn't name (0 where it isn't said)."""
        self.size = len(next(iter(columns.values())))
        self.growth = 0
        self.arrays = {name: np.array(column) for name, column in columns.items()}
        self._blank = dict(blank or {})

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def append(self, count: int = 1, **values: Any) -> int:
        """Further rows; the place of the first."""
        first, self.size = self.size, self.size + count
        if self.size > len(next(iter(self.arrays.values()))):
            self._grow()
        for name, value in values.items():
            self.arrays[name][first : self.size] = value
        return first

    def _grow(self) -> None:
        self.growth += 1
        for name, column in self.arrays.items():
            further = np.full(max(self.size, 16), self._blank.get(name, 0), dtype=column.dtype)
            self.arrays[name] = np.concatenate([column, further])
