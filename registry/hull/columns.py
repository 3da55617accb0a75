"""Columns of one table that grow together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns:
    """Arrays of one length that grow together; they are longer than `size`, and others after each `growth`."""

    def __init__(self, blank: Mapping[str, float] | None = None, **columns: NDArray[Any]) -> None:
        """blank: what further rows hold in columns that aren't named (0 where it isn't said)."""
        self.arrays = columns
        self.size = self._capacity = len(next(iter(columns.values())))
        self.growth = 0
        self._blank = dict(blank or {})
        self._grow(self.size // 8)  # a copy too, with room for what comes first

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def append(self, **values: float) -> int:
        """A further row; its place."""
        row = self._make_room(1)
        for name, value in values.items():
            self.arrays[name][row] = value
        return row

    def extend(self, count: int, **values: NDArray[Any]) -> int:
        """Further rows; the place of the first."""
        first = self._make_room(count)
        for name, value in values.items():
            self.arrays[name][first : self.size] = value
        return first

    def _make_room(self, count: int) -> int:
        first, self.size = self.size, self.size + count
        if self.size > self._capacity:
            self._grow(self.size)
        return first

    def _grow(self, further: int) -> None:
        further = max(further, 16)
        for name, column in self.arrays.items():
            blank = np.full(further, self._blank.get(name, 0), dtype=column.dtype)
            self.arrays[name] = np.concatenate([column, blank])
        self.growth, self._capacity = self.growth + 1, self._capacity + further
