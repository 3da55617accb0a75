"""A relaxation by a cheaper level first, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import load_level
from registry.states import ErrorClass
from tests.workers.standin import Failing, StandIn
from workers.engines.base import Relaxation, Trajectory, engine_of
from workers.engines.prerelaxed import Prerelaxed

FAR = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.9, [11, 17], [[0, 0, 0], [0.54, 0.5, 0.47]])
COARSE, FINE = Relaxation(0.1, 100), Relaxation(0.05, 100)


def test_the_engine_begins_where_the_first_one_ends():
    alone, after = Trajectory(), Trajectory()
    plain = StandIn().relax(FAR, FINE, alone)
    label = Prerelaxed(StandIn(), StandIn(), COARSE).relax(FAR, FINE, after)
    assert label.energy == pytest.approx(plain.energy, abs=1e-3)
    assert len(after.frames) < len(alone.frames)
    assert after.frames[0].crystal.volume != pytest.approx(FAR.volume, rel=0.01)
    told = label.convergence["prerelaxed"]
    assert isinstance(told, dict)
    assert told["engine"] == "stand-in"
    assert told["steps"] > 2
    assert told["volume_ratio"] == pytest.approx(label.crystal.volume / FAR.volume, rel=0.05)


def test_a_single_point_is_of_what_the_first_one_makes():
    label = Prerelaxed(StandIn(), StandIn(), FINE).static(FAR)
    assert label.energy == pytest.approx(StandIn().relax(FAR, FINE, Trajectory()).energy, abs=1e-6)
    assert label.energy < StandIn().static(FAR).energy


def test_where_the_first_one_fails_the_engine_begins_from_the_crystal():
    failing = Failing(LabelFailure(ErrorClass.GEOMETRY_EXPLODED, "it flew apart"))
    trajectory = Trajectory()
    label = Prerelaxed(StandIn(), failing, COARSE).relax(FAR, FINE, trajectory)
    assert trajectory.frames[0].crystal.volume == pytest.approx(FAR.volume)
    assert label.convergence["prerelaxed"] == {"engine": "stand-in", "failed": "geometry_exploded"}


def test_an_attempt_that_goes_on_does_not_lose_its_place():
    begun = Trajectory()
    Prerelaxed(StandIn(), StandIn(), COARSE).relax(FAR, FINE, begun)
    trajectory = Trajectory()
    start = begun.frames[-1].crystal
    Prerelaxed(StandIn(), StandIn(), COARSE).relax(FAR, replace(FINE, start=start), trajectory)
    assert trajectory.frames[0].energy == pytest.approx(begun.frames[-1].energy, abs=1e-9)


def test_a_level_says_what_relaxes_before_it():
    pytest.importorskip("sevenn")
    pytest.importorskip("chgnet")
    level = load_level("chgnet")
    engine = engine_of(replace(level, settings={**level.settings, "prerelax": "7net-0"}))
    assert isinstance(engine, Prerelaxed)
    assert (engine.name, engine.first.name) == ("chgnet", "7net-0")
    assert "before it sevenn" in engine.version
    label = engine.relax(FAR, Relaxation(0.05, 100), Trajectory())
    assert label.energy == pytest.approx(engine_of(level).relax(FAR, FINE, Trajectory()).energy, abs=0.01)
