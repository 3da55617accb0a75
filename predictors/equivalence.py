"""Atoms that no message passing over distances can tell apart, taken for one.

Symmetric atoms of a crystal have equal neighbours at equal distances, and so have equal features after every step: it
is enough to follow one of each class, with its neighbours of one class at one distance as one edge that counts as many.
The energies are the same, for a third of the work over Materials Project and an eighth for small cells. (Ruff et al.,
Digital Discovery 3, 594, 2024, do so by asymmetric units; the classes here are those of colour refinement, Weisfeiler
and Leman, 1968, on the neighbour list itself, so that no symmetry analysis is needed and none can fail.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TOLERANCE = 5e-3
"""Distances (angstrom) this close may be taken for one, if no gap of a quarter of it lies between."""


@njit(cache=True)
def _mixed(bits: np.uint64) -> np.uint64:
    """A number that shows nothing of `bits` (the finaliser of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@njit(cache=True)
def _shells(distances: NDArray[np.float32], tolerance: float) -> NDArray[np.uint64]:
    """(e,) a mark for each edge, equal where distances are."""
    marks = np.empty(len(distances), dtype=np.uint64)
    shell, first, last = 0, -1.0, -1.0
    for edge in np.argsort(distances):
        distance = distances[edge]
        if distance - last > 0.25 * tolerance or distance - first > tolerance:
            shell += 1
            first = distance
        last = distance
        marks[edge] = _mixed(np.uint64(shell))
    return marks


@njit(cache=True)
def _colours(
    numbers: NDArray[np.int64], src: NDArray[np.int32], dst: NDArray[np.int32], shells: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """(n,) equal for atoms whose surroundings are equal however far one looks."""
    atoms = len(numbers)
    colours = np.empty(atoms, dtype=np.uint64)
    for atom in range(atoms):
        colours[atom] = _mixed(np.uint64(numbers[atom]))
    kinds = len(np.unique(colours))
    while kinds < atoms:
        refined = colours * np.uint64(3)
        for edge in range(len(src)):
            refined[dst[edge]] += _mixed(colours[src[edge]] ^ shells[edge])
        for atom in range(atoms):
            refined[atom] = _mixed(refined[atom])
        colours = refined
        now = len(np.unique(colours))
        if now == kinds:
            break
        kinds = now
    return colours


@njit(cache=True)
def _classes(colours: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(n,) the class of each atom; (k,) the first atom of each."""
    kinds = np.unique(colours)
    of_atom = np.searchsorted(kinds, colours).astype(np.int32)
    first = np.empty(len(kinds), dtype=np.int32)
    for atom in range(len(colours) - 1, -1, -1):
        first[of_atom[atom]] = atom
    return of_atom, first


@njit(cache=True)
def merged(
    numbers: NDArray[np.int64],
    src: NDArray[np.int32],
    dst: NDArray[np.int32],
    distances: NDArray[np.float32],
    tolerance: float,
) -> tuple[Any, ...]:
    """A neighbour list by classes of atoms.

    (k,) first atom and (k,) int32 atoms of each class; then per edge, sorted by class: src, dst (classes), the mean
    distance, and how many neighbours of an atom of class dst it stands for.
    """
    of_atom, first = _classes(_colours(numbers, src, dst, _shells(distances, tolerance)))
    atoms = np.zeros(len(first), dtype=np.float32)
    for each in of_atom:
        atoms[each] += 1
    kept = np.flatnonzero(first[of_atom[dst]] == dst)
    # One number to sort by: centre, then neighbour, then distance, which is below 64 angstrom.
    pairs = of_atom[dst[kept]].astype(np.float64) * len(first) + of_atom[src[kept]]
    keys = pairs * 64.0 + distances[kept]
    order = np.argsort(keys)
    new_src, new_dst = np.empty(len(kept), dtype=np.int32), np.empty(len(kept), dtype=np.int32)
    mean, counts = np.zeros(len(kept), dtype=np.float64), np.zeros(len(kept), dtype=np.float32)
    edge, begun, last = -1, -1.0, -1.0
    for position in order:
        key = keys[position]
        if edge < 0 or key - last > 0.25 * tolerance or key - begun > tolerance:
            edge += 1
            begun = key
            new_src[edge], new_dst[edge] = of_atom[src[kept[position]]], of_atom[dst[kept[position]]]
        counts[edge] += 1
        mean[edge] += distances[kept[position]]
        last = key
    size = edge + 1
    means = (mean[:size] / counts[:size]).astype(np.float32)
    return first, atoms, new_src[:size].copy(), new_dst[:size].copy(), means, counts[:size].copy()
