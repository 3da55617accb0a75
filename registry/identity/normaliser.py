"""The equivalent namings of a space group's Wyckoff positions, by its affine normaliser.

From orthorhombic groups on these are the relabelings that pymatgen ships. Its lists for triclinic and monoclinic groups
hold shifts of the origin only, where the choice of axes renames positions as well (P-1: 1,344 namings instead of 8), so
that these are worked out here from the positions in the International Tables, vol. A.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Naming = dict[str, str]
"""Wyckoff letter -> the letter that it has in an equivalent description."""

Point = tuple[float | None, float | None, float | None]
"""Fractional coordinates of a position's representative; None where a coordinate is free."""

SPECIAL: dict[int, dict[str, Point]] = {
    2: {"a": (0, 0, 0), "b": (0, 0, 0.5), "c": (0, 0.5, 0), "d": (0.5, 0, 0), "e": (0.5, 0.5, 0), "f": (0.5, 0, 0.5),
        "g": (0, 0.5, 0.5), "h": (0.5, 0.5, 0.5)},
    3: {"a": (0, None, 0), "b": (0, None, 0.5), "c": (0.5, None, 0), "d": (0.5, None, 0.5)},
    5: {"a": (0, None, 0), "b": (0, None, 0.5)},
    6: {"a": (None, 0, None), "b": (None, 0.5, None)},
    10: {"a": (0, 0, 0), "b": (0, 0.5, 0), "c": (0, 0, 0.5), "d": (0.5, 0, 0), "e": (0.5, 0.5, 0), "f": (0, 0.5, 0.5),
         "g": (0.5, 0, 0.5), "h": (0.5, 0.5, 0.5), "i": (0, None, 0), "j": (0.5, None, 0), "k": (0, None, 0.5),
         "l": (0.5, None, 0.5), "m": (None, 0, None), "n": (None, 0.5, None)},
    11: {"a": (0, 0, 0), "b": (0.5, 0, 0), "c": (0, 0, 0.5), "d": (0.5, 0, 0.5), "e": (None, 0.25, None)},
    12: {"a": (0, 0, 0), "b": (0, 0.5, 0), "c": (0, 0, 0.5), "d": (0, 0.5, 0.5), "e": (0.25, 0.25, 0),
         "f": (0.25, 0.25, 0.5), "g": (0, None, 0), "h": (0, None, 0.5), "i": (None, 0, None)},
    13: {"a": (0, 0, 0), "b": (0.5, 0.5, 0), "c": (0, 0.5, 0), "d": (0.5, 0, 0), "e": (0, None, 0.25),
         "f": (0.5, None, 0.25)},
    14: {"a": (0, 0, 0), "b": (0.5, 0, 0), "c": (0, 0, 0.5), "d": (0.5, 0, 0.5)},
    15: {"a": (0, 0, 0), "b": (0, 0.5, 0), "c": (0.25, 0.25, 0), "d": (0.25, 0.25, 0.5),
         "e": (0, None, 0.25)},
}  # fmt: skip
"""Triclinic and monoclinic groups (unique axis b, cell choice 1); the general position keeps its letter."""

AXES: dict[bool, tuple[tuple[tuple[int, int, int], ...], ...]] = {
    True: (
        ((1, 1, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    ),
    False: (
        ((1, 0, 1), (0, 1, 0), (0, 0, 1)),
        ((1, 0, 0), (0, 1, 0), (1, 0, 1)),
        ((1, 0, 2), (0, 1, 0), (0, 0, 1)),
        ((1, 0, 0), (0, 1, 0), (2, 0, 1)),
        ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    ),
}
"""Changes of axes that generate the others, for triclinic groups or not; a group leaves out what it does not bear."""


@cache
def namings(spacegroup: int, letters: frozenset[str]) -> tuple[Naming, ...]:
    """Every distinct equivalent naming of the positions that are occupied."""
    distinct = {tuple(sorted((old, new) for old, new in one.items() if old in letters)) for one in _all(spacegroup)}
    return tuple(dict(one) for one in sorted(distinct))


@cache
def _all(spacegroup: int) -> list[Naming]:
    shipped = _shipped()[str(spacegroup)]
    if spacegroup not in SPECIAL:
        return shipped
    general = {letter: letter for letter in shipped[0] if letter not in SPECIAL[spacegroup]}
    return [general | one for one in _closed(list(_generators(spacegroup)))]


@cache
def _shipped() -> dict[str, list[Naming]]:
    """Read from pymatgen's folder: importing its module takes a second and decodes a library of structures."""
    spec = find_spec("pymatgen.analysis")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pymatgen.analysis")
    path = Path(next(iter(spec.submodule_search_locations))) / "prototypes" / "wyckoff-position-relabelings.json.gz"
    table: dict[str, list[Naming]] = json.loads(gzip.decompress(path.read_bytes()))
    return {key: [_letters(one) for one in rows] for key, rows in table.items()}


def _letters(naming: dict[str, str]) -> Naming:
    return {chr(int(old)): new for old, new in naming.items()}


Operations = list[tuple[NDArray[np.int64], NDArray[np.float64]]]
"""(3, 3) rotations and (3,) translations."""


def _generators(spacegroup: int) -> Iterator[Naming]:
    """The namings by every shift of the origin, and by each change of axes with one shift that makes it fit."""
    operations = _operations(spacegroup)
    shifts = [np.array(one) for one in product((0, 0.25, 0.5, 0.75), repeat=3)]
    identity = np.eye(3, dtype=np.int64)
    for shift in shifts:
        if _normalises(identity, shift, operations):
            yield _renamed(identity, shift, operations, SPECIAL[spacegroup])
    for axes in AXES[spacegroup == 2]:
        matrix = np.array(axes)
        fitting = next((shift for shift in shifts if _normalises(matrix, shift, operations)), None)
        if fitting is not None:
            yield _renamed(matrix, fitting, operations, SPECIAL[spacegroup])


def _operations(spacegroup: int) -> Operations:
    import moyopy

    group = moyopy.operations_from_number(spacegroup)
    return [(np.array(w), np.array(t)) for w, t in zip(group.rotations, group.translations, strict=True)]


def _normalises(matrix: NDArray[np.int64], shift: NDArray[np.float64], operations: Operations) -> bool:
    """Whether x -> matrix x + shift turns every operation of the group into one of the group."""
    inverse = np.rint(np.linalg.inv(matrix)).astype(np.int64)
    for rotation, translation in operations:
        turned = matrix @ rotation @ inverse
        moved = matrix @ translation + shift - turned @ shift
        if not any((turned == w).all() and _congruent(moved, t) for w, t in operations):
            return False
    return True


def _renamed(
    matrix: NDArray[np.int64], shift: NDArray[np.float64], operations: Operations, special: dict[str, Point]
) -> Naming:
    generic = np.array([0.1371, 0.2213, 0.3417])
    naming = {}
    for letter, point in special.items():
        image = matrix @ np.array([g if x is None else x for x, g in zip(point, generic, strict=True)]) + shift
        naming[letter] = next(new for new, other in special.items() if _lies_on(image, other, operations))
    return naming


def _lies_on(image: NDArray[np.float64], position: Point, operations: Operations) -> bool:
    fixed = [axis for axis, x in enumerate(position) if x is not None]
    target = np.array([position[axis] for axis in fixed], dtype=np.float64)
    return any(_congruent((w @ image + t)[fixed], target) for w, t in operations)


def _congruent(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    apart = one - other
    return bool(np.abs(apart - np.rint(apart)).max() < 1e-6)


def _closed(generators: list[Naming]) -> list[Naming]:
    """Every product of the generators."""
    letters = sorted(generators[0])
    steps = [tuple(one[letter] for letter in letters) for one in generators]
    place = {letter: index for index, letter in enumerate(letters)}
    found = {tuple(letters)}
    fresh = list(found)
    while fresh:
        grown = {tuple(step[place[letter]] for letter in one) for one in fresh for step in steps}
        fresh = list(grown - found)
        found |= grown
    return [dict(zip(letters, one, strict=True)) for one in sorted(found)]
