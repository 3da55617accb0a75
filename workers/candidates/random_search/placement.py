"""Atoms on chosen Wyckoff positions of random cells, and soft spheres that push them apart. Kernels.

Only one site of each set of equivalent ones, its head, is looked at and moved, and the others follow: symmetry is kept
exactly, whatever happens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from registry.compiled import entry_point, inner
from workers.candidates.random_search.cells import draw_cell, invert
from workers.candidates.random_search.stream import State, uniform
from workers.candidates.random_search.wyckoff import Floats, Ints

MADE, NARROW, CROWDED, OVERLAPPING = range(4)
"""What comes of a cell. NARROW: a lattice translation is too short; CROWDED: no room for an atom; OVERLAPPING: the soft
spheres found no way out."""

PLACES = 20
"""Points that are tried for one set of sites."""
LOOSE = 0.7
"""With soft spheres, atoms may start as close as this share of their separation."""
SWELL = 1.1
"""Diameter of a sphere over the separation, so that the separation is reached in finite time."""
STEPS = 40
PUSH = 0.4
"""Angstrom moved per angstrom of summed overlap."""
LONGEST_STEP = 0.4
STUCK = 1e-3
"""Angstrom: where no atom moves farther in a step, none will."""
COINCIDE = 1e-9
"""Angstrom: two atoms on one point know no direction."""
FAR = 1e9


class Positions(NamedTuple):
    """The Wyckoff positions of a group: see wyckoff.SpaceGroup."""

    shape: int
    primitive: Floats
    first: Ints
    rotations: Floats
    translations: Floats
    solvers: Floats


class Atoms(NamedTuple):
    """A cell being filled: o sets of equivalent sites, n sites.

    chosen: (o,) Wyckoff positions; begin: (o + 1,) where the sites of each set begin; elements: (n,) places in
    separations: (k, k) angstrom
    lattice, inverse: (3, 3); reach: (3,) how far an angstrom goes at most in each fractional coordinate
    parameters: (o, 3) x, y, z of each set; sites: (n, 3) fractional
    """

    chosen: Ints
    begin: Ints
    elements: Ints
    separations: Floats
    lattice: Floats
    inverse: Floats
    reach: Floats
    parameters: Floats
    sites: Floats


@entry_point
def fill_cell(
    group: Positions,
    chosen: Ints,
    holders: Ints,
    separations: Floats,
    volume: float,
    cells: int,
    soft: bool,
    random: State,
    outcomes: Ints,
) -> tuple[Floats, Floats, Ints]:
    """The cell (3, 3), the sites (n, 3) in its fractional coordinates, and the place of each one's element (n,).

    chosen, holders: (o,) which Wyckoff position, which element; separations: (k, k) in angstrom
    outcomes: (4,) counts of what came of each cell, of at most `cells`; no sites where none was MADE
    """
    atoms = _atoms(group, chosen, holders, separations)
    for _ in range(cells):
        outcome = _fill(group, atoms, volume, soft, random)
        outcomes[outcome] += 1
        if outcome == MADE:
            _wrap(atoms.sites)
            return atoms.lattice, atoms.sites, atoms.elements
    return atoms.lattice, atoms.sites[:0], atoms.elements[:0]


@inner
def _atoms(group: Positions, chosen: Ints, holders: Ints, separations: Floats) -> Atoms:
    begin = np.zeros(len(chosen) + 1, dtype=np.int64)
    for orbit in range(len(chosen)):
        begin[orbit + 1] = begin[orbit] + group.first[chosen[orbit] + 1] - group.first[chosen[orbit]]
    elements = np.zeros(begin[-1], dtype=np.int64)
    for orbit in range(len(chosen)):
        elements[begin[orbit] : begin[orbit + 1]] = holders[orbit]
    return Atoms(
        chosen,
        begin,
        elements,
        separations,
        np.zeros((3, 3)),
        np.zeros((3, 3)),
        np.zeros(3),
        np.zeros((len(chosen), 3)),
        np.zeros((begin[-1], 3)),
    )


@inner
def _fill(group: Positions, atoms: Atoms, volume: float, soft: bool, random: State) -> int:
    """Try one cell."""
    draw_cell(group.shape, group.primitive, volume, random, atoms.lattice)
    invert(atoms.lattice, atoms.inverse)
    for axis in range(3):
        a, b, c = atoms.inverse[0, axis], atoms.inverse[1, axis], atoms.inverse[2, axis]
        atoms.reach[axis] = np.sqrt(a * a + b * b + c * c)
    if _is_narrow(atoms):
        return NARROW
    for orbit in range(len(atoms.chosen)):
        if not _place(group, atoms, orbit, LOOSE if soft else 1.0, random):
            return CROWDED
    if soft and not _push(group, atoms):
        return OVERLAPPING
    return MADE


@inner
def _is_narrow(atoms: Atoms) -> bool:
    """Whether an atom is too close to its own images."""
    widest = 0.0
    for element in atoms.elements:
        widest = max(widest, atoms.separations[element, element])
    return _closest(atoms, 0, 0, widest) < widest * widest


@inner
def _place(group: Positions, atoms: Atoms, orbit: int, share: float, random: State) -> bool:
    """Find a point for one set of sites, clear of all before it by that share of the separations."""
    is_fixed = True
    for row in range(3):
        for column in range(3):
            is_fixed = is_fixed and group.solvers[atoms.chosen[orbit], row, column] == 0.0
    for _ in range(1 if is_fixed else PLACES):
        for axis in range(3):
            atoms.parameters[orbit, axis] = 0.0 if is_fixed else uniform(random)
        _spread(group, atoms, orbit)
        if _is_clear(atoms, atoms.begin[orbit], atoms.begin[orbit + 1], share):
            return True
    return False


@inner
def _spread(group: Positions, atoms: Atoms, orbit: int) -> None:
    """All equivalent sites from the parameters of one."""
    row = group.first[atoms.chosen[orbit]]
    for site in range(atoms.begin[orbit], atoms.begin[orbit + 1]):
        for axis in range(3):
            atoms.sites[site, axis] = (
                group.rotations[row, axis, 0] * atoms.parameters[orbit, 0]
                + group.rotations[row, axis, 1] * atoms.parameters[orbit, 1]
                + group.rotations[row, axis, 2] * atoms.parameters[orbit, 2]
                + group.translations[row, axis]
            )
        row += 1


@inner
def _is_clear(atoms: Atoms, head: int, end: int, share: float) -> bool:
    """Whether a head is far enough from its equivalents, which end at `end`, and from all before them."""
    for site in range(end):
        least = share * atoms.separations[atoms.elements[head], atoms.elements[site]]
        if site != head and _closest(atoms, head, site, least) < least * least:
            return False
    return True


@inner
def _closest(atoms: Atoms, head: int, site: int, within: float) -> float:
    """The square of the least distance from a site to the images of another, or to its own; FAR beyond `within`."""
    least = FAR
    x, y, z = _between(atoms, head, site)
    p, q, r = within * atoms.reach[0], within * atoms.reach[1], within * atoms.reach[2]
    for i in range(int(np.ceil(-p - x)), int(np.floor(p - x)) + 1):
        for j in range(int(np.ceil(-q - y)), int(np.floor(q - y)) + 1):
            for k in range(int(np.ceil(-r - z)), int(np.floor(r - z)) + 1):
                if head != site or i != 0 or j != 0 or k != 0:
                    a, b, c = _vector(atoms.lattice, x + i, y + j, z + k)
                    least = min(least, a * a + b * b + c * c)
    return least


@inner
def _between(atoms: Atoms, head: int, site: int) -> tuple[float, float, float]:
    """Fractional coordinates, in [0, 1], of a site seen from the images of another."""
    x = atoms.sites[head, 0] - atoms.sites[site, 0]
    y = atoms.sites[head, 1] - atoms.sites[site, 1]
    z = atoms.sites[head, 2] - atoms.sites[site, 2]
    return x - np.floor(x), y - np.floor(y), z - np.floor(z)


@inner
def _vector(lattice: Floats, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Cartesian, in angstrom."""
    return (
        x * lattice[0, 0] + y * lattice[1, 0] + z * lattice[2, 0],
        x * lattice[0, 1] + y * lattice[1, 1] + z * lattice[2, 1],
        x * lattice[0, 2] + y * lattice[1, 2] + z * lattice[2, 2],
    )


@inner
def _push(group: Positions, atoms: Atoms) -> bool:
    """Steepest descent of the overlaps of soft spheres, the cell as it is; whether all separations hold in the end.

    Energy of two spheres: half the square of their overlap. The force on a site of a symmetric arrangement lies along
    the free directions of its Wyckoff position.
    """
    force, moves = np.zeros(3), np.zeros((len(atoms.chosen), 3))
    for _ in range(STEPS):
        clear, farthest = True, 0.0
        for orbit in range(len(atoms.chosen)):
            clear = _add_forces(atoms, atoms.begin[orbit], force) and clear
            farthest = max(farthest, _move(group, atoms, orbit, force, moves[orbit]))
        if clear:
            return True
        if farthest < STUCK:
            return False
        for orbit in range(len(atoms.chosen)):
            for axis in range(3):
                atoms.parameters[orbit, axis] += moves[orbit, axis]
            _spread(group, atoms, orbit)
    return False


@inner
def _add_forces(atoms: Atoms, head: int, force: Floats) -> bool:
    """Fill `force` (3,) with the summed overlaps, in angstrom, that push a head; whether its separations hold."""
    clear = True
    force[:] = 0.0
    for site in range(len(atoms.sites)):
        separation = atoms.separations[atoms.elements[head], atoms.elements[site]]
        diameter = SWELL * separation
        x, y, z = _between(atoms, head, site)
        p, q, r = diameter * atoms.reach[0], diameter * atoms.reach[1], diameter * atoms.reach[2]
        for i in range(int(np.ceil(-p - x)), int(np.floor(p - x)) + 1):
            for j in range(int(np.ceil(-q - y)), int(np.floor(q - y)) + 1):
                for k in range(int(np.ceil(-r - z)), int(np.floor(r - z)) + 1):
                    if head == site and i == 0 and j == 0 and k == 0:
                        continue
                    a, b, c = _vector(atoms.lattice, x + i, y + j, z + k)
                    distance = np.sqrt(a * a + b * b + c * c)
                    clear = clear and distance >= separation
                    if COINCIDE < distance < diameter:
                        pull = (diameter - distance) / distance
                        force[0] += pull * a
                        force[1] += pull * b
                        force[2] += pull * c
    return clear


@inner
def _move(group: Positions, atoms: Atoms, orbit: int, force: Floats, move: Floats) -> float:
    """Fill `move` (3,) with the step of a set's x, y, z; how long it is in angstrom, 0 where it can't move."""
    length = PUSH * np.sqrt(force[0] * force[0] + force[1] * force[1] + force[2] * force[2])
    scale = PUSH * min(1.0, LONGEST_STEP / max(length, COINCIDE))
    along = np.zeros(3)
    for row in range(3):
        step = scale * (
            force[0] * atoms.inverse[0, row] + force[1] * atoms.inverse[1, row] + force[2] * atoms.inverse[2, row]
        )
        for axis in range(3):
            along[axis] += step * group.primitive[row, axis]
    can_move = False
    for axis in range(3):
        solver = group.solvers[atoms.chosen[orbit], axis]
        move[axis] = solver[0] * along[0] + solver[1] * along[1] + solver[2] * along[2]
        can_move = can_move or move[axis] != 0.0
    return min(length, LONGEST_STEP) if can_move else 0.0


@inner
def _wrap(sites: Floats) -> None:
    """Into [0, 1)."""
    for site in range(len(sites)):
        for axis in range(3):
            value = sites[site, axis] - np.floor(sites[site, axis])
            sites[site, axis] = 0.0 if value >= 1.0 else value
