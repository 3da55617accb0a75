"""The tables of Wyckoff positions against two other libraries: multiplicities, free parameters, and whole orbits."""

from __future__ import annotations

import gzip
import json
from importlib import resources

import moyopy
import numpy as np
import pytest

from registry.errors import NotFound
from workers.candidates.random_search.wyckoff import GROUPS, Floats, SpaceGroup, crystal_system, space_group

ALL = range(1, GROUPS + 1)


def prototype_table(name: str) -> dict[str, dict[str, int]]:
    """pymatgen's tables for structure types, of another origin than those of its magnetic groups."""
    packed = resources.files("pymatgen.analysis.prototypes").joinpath(f"wyckoff-position-{name}.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


def test_multiplicities_and_freedoms_are_those_of_the_prototype_tables():
    multiplicities, freedoms = prototype_table("multiplicities"), prototype_table("params")
    for number in ALL:
        group = space_group(number)
        cells = round(1 / abs(np.linalg.det(group.primitive)))
        sites = dict(zip(group.letters, (group.multiplicities * cells).tolist(), strict=True))
        assert sites == multiplicities[str(number)]
        assert dict(zip(group.letters, group.freedom.tolist(), strict=True)) == freedoms[str(number)]


def orbit(group: SpaceGroup, position: int, parameters: Floats) -> Floats:
    """(n, 3) sites in fractional coordinates of the primitive cell."""
    rows = slice(group.first[position], group.first[position + 1])
    return group.rotations[rows] @ parameters + group.translations[rows]


def same_set(one: Floats, other: Floats) -> bool:
    apart = one[:, None, :] - other[None, :, :]
    near = np.abs(apart - np.rint(apart)).max(axis=2) < 1e-9
    return bool(near.any(axis=0).all() and near.any(axis=1).all())


def test_every_position_is_an_orbit_of_the_groups_operations():
    """Of moyopy's operations in its standard setting, so that the two agree on axes and origin."""
    parameters = np.array([0.1357, 0.2718, 0.0419])
    for number in ALL:
        group = space_group(number)
        found = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
        rotations, shifts = np.array(found.rotations), np.array(found.translations)
        for position in range(len(group.letters)):
            sites = orbit(group, position, parameters)
            moved = (sites[0] @ group.primitive @ rotations.transpose(0, 2, 1) + shifts) @ np.linalg.inv(
                group.primitive
            )
            assert same_set(moved, sites), (number, group.letters[position])
            apart = np.abs(sites[:, None] - sites[None] - np.rint(sites[:, None] - sites[None])).max(axis=2)
            assert (apart[~np.eye(len(sites), dtype=bool)] > 1e-6).all(), (number, group.letters[position])


def test_solvers_undo_the_first_site():
    """A shift of x, y, z moves the first site, and from that move the solver finds one that does the same."""
    rng = np.random.default_rng(0)
    for number in ALL:
        group = space_group(number)
        for position in range(len(group.letters)):
            matrix = group.primitive.T @ group.rotations[group.first[position]]
            shift = rng.normal(size=3)
            moved = matrix @ shift
            np.testing.assert_allclose(matrix @ (group.solvers[position] @ moved), moved, atol=1e-12)


def test_crystal_systems():
    systems = {number: crystal_system(number) for number in (2, 15, 16, 75, 143, 168, 195, 230)}
    assert list(systems.values()) == [
        "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic", "cubic",
    ]  # fmt: skip


@pytest.mark.parametrize("number", [0, 231])
def test_other_numbers_are_refused(number: int):
    with pytest.raises(NotFound, match="1 to 230"):
        space_group(number)
