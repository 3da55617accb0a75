"""What the benchmark of labels asks of engines and daemons, and how it counts; its runs are made by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase", reason="the extra `potentials` isn't installed")

from benchmarks.labels_formation import distribution, kind_of
from benchmarks.labels_lattice import CRYSTALS, PER_CELL, primitive, relaxed_constant
from benchmarks.labels_overhead import STEPS, Free
from benchmarks.labels_throughput import salts
from registry.crystal import Crystal
from tests.workers.standin import StandIn
from workers.engines.base import Relaxation, Trajectory, check_plausible, check_start


@pytest.mark.parametrize("formula", CRYSTALS)
def test_a_primitive_cell_tells_the_constant_of_the_conventional_one(formula: str):
    known = CRYSTALS[formula]
    cell = primitive(formula, known.structure, known.pbe)
    assert (cell.volume * PER_CELL[known.structure]) ** (1 / 3) == pytest.approx(known.pbe)
    assert 1 < known.pbe / known.measured < 1.03


def test_the_constant_is_that_of_the_relaxed_cell():
    """The stand-in's crystals come to rest where it says, from whatever start."""
    one = relaxed_constant(StandIn(), "NaCl", CRYSTALS["NaCl"])
    assert 4.5 < one < 6.5
    assert abs(one / CRYSTALS["NaCl"].pbe - 1) > 0.01


def test_kinds_of_compounds():
    crystals = [
        Crystal(np.eye(3) * 5, numbers, np.zeros((len(numbers), 3))) for numbers in ([3, 8], [3, 15, 8], [26, 15])
    ]
    assert [kind_of(one) for one in crystals] == ["oxide", "phosphate", "phosphide"]
    assert distribution([0.1, -0.1, 0.0, 0.04]) == {
        "crystals": 4, "mean": 0.01, "median": 0.02, "mae": 0.06, "within_aim": 0.5, "largest": 0.1,
    }  # fmt: skip


def test_salts_are_the_same_every_time_and_such_as_relax():
    first, second = salts(12), salts(12)
    assert len({one.nsites for one in first}) == 1
    for one, other in zip(first, second, strict=True):
        check_start(one)
        assert (one.frac_coords == other.frac_coords).all()
        assert one.nsites == 8


def test_the_engine_that_costs_nothing_tells_of_its_steps():
    trajectory, crystal = Trajectory(), salts(1)[0]
    label = Free().relax(crystal, Relaxation(), trajectory)
    check_plausible(label.crystal, label.energy)
    assert len(trajectory.frames) == STEPS
