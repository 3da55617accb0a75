"""Random numbers inside kernels: the same on every machine, from one word of state (splitmix64)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner

State = NDArray[np.uint64]


def seeded(*words: object) -> State:
    """(1,) uint64 from anything that has a `str`."""
    digest = hashlib.sha256("|".join(map(str, words)).encode()).digest()
    return np.array([int.from_bytes(digest[:8], "little")], dtype=np.uint64)


@inner
def uniform(state: State) -> float:
    """In [0, 1), 53 bits (Steele, Lea and Flood, OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    word = state[0]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return np.float64(word >> np.uint64(11)) * 1.1102230246251565e-16


@inner
def below(state: State, limit: float) -> float:
    """In [0, limit)."""
    return uniform(state) * limit


@entry_point
def next_uniform(state: State) -> float:
    """`uniform` for callers outside kernels."""
    return uniform(state)


def one_of(state: State, count: int) -> int:
    """One of 0 ... count - 1."""
    return int(next_uniform(state) * count)
