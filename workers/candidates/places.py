"""Which proposals of a parent come first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def best(probabilities: Floats, patterns: Ints, most: int) -> Ints:
    """Indices of the first `most` by the better of two places: by probability, and among the likeliest of a pattern.

    probabilities, patterns: (k,); proposals of one pattern have the same charges on as many sites. Of equal ones the
    earlier wins.
    By probability alone, compounds that charge balance lets change only together (CuFeS2 -> ZnSiAs2) come after every
    isovalent replacement; by pattern alone, unusual states come too early.
    """
    likeliest = np.argsort(-probabilities, kind="stable")
    by_pattern = np.argsort(_earlier_alike(patterns[likeliest]), kind="stable")
    place = np.arange(len(likeliest))
    place[by_pattern] = np.minimum(place[by_pattern], np.arange(len(likeliest)))
    return likeliest[np.argsort(place, kind="stable")[:most]]


def _earlier_alike(patterns: Ints) -> Ints:
    """(k,) how many before each one have its pattern."""
    grouped = np.argsort(patterns, kind="stable")
    _, starts, sizes = np.unique(patterns[grouped], return_index=True, return_counts=True)
    found = np.empty(len(patterns), dtype=np.int64)
    found[grouped] = np.arange(len(patterns)) - np.repeat(starts, sizes)
    return found
