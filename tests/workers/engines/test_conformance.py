"""What every label engine promises. A new engine joins the list."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.errors import LabelFailure, LeaseLost
from registry.hull.levels import Level, load_level
from registry.states import ErrorClass
from tests.workers.engines.standin_vasp import computing_vasp
from tests.workers.standin import StandIn
from workers.engines.base import Engine, Relaxation, Trajectory, check_plausible, engine_of

PACKAGES = {
    "7net-0": "sevenn",
    "7net-l3i5": "sevenn",
    "chgnet": "chgnet",
    "chgnet-r2scan": "chgnet",
    "gpaw-pbe": "gpaw",
    "vasp-mp": "custodian",
}
COARSE = {"cutoff": 300.0, "density_insulator": 2.0, "density_metal": 2.0}
TO_REST = {"incar": {"EDIFF": 1e-6}, "poll_seconds": 0.05}
"""MPRelaxSet's relaxations end by the energy, as near to rest as that asks for."""

ROCK_SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.85, [11, 17], [[0, 0, 0], [0.52, 0.5, 0.5]])
CUBIC = Crystal(np.eye(3) * 4.3, [11, 11, 17, 17], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.52]])


@pytest.fixture(scope="module", params=["stand-in", *PACKAGES])
def label_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    if request.param == "stand-in":
        return StandIn()
    if importlib.util.find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{PACKAGES[request.param]} isn't installed: pip install 'motherlode[potentials]', make dft")
    level = load_level(request.param)
    if level.engine == "vasp":
        return engine_of(changed(level, TO_REST), computing_vasp(tmp_path_factory.mktemp("vasp")))
    if level.kind == "DFT" and "LODE_TEST_DFT" not in os.environ:
        pytest.skip("DFT takes minutes: make test-dft")
    return engine_of(changed(level, COARSE) if level.kind == "DFT" else level)


@pytest.fixture
def many_runs(label_engine: Engine) -> None:
    """Of what starts so many programs that only the long test run has the time."""
    if label_engine.name == "vasp" and "LODE_TEST_DFT" not in os.environ:
        pytest.skip("six starts of pymatgen take half a minute: make test-dft")


def changed(level: Level, settings: Mapping[str, Any]) -> Level:
    return replace(level, settings={**level.settings, **settings})


def test_a_relaxation_lowers_the_energy_and_ends_in_rest(label_engine: Engine):
    trajectory = Trajectory()
    label = label_engine.relax(ROCK_SALT, Relaxation(0.05, 100), trajectory)
    assert label.energy < label_engine.static(ROCK_SALT).energy
    assert np.linalg.norm(label.forces, axis=1).max() < 0.05
    assert len(trajectory.frames) > label.steps > 0
    assert trajectory.frames[0].crystal.lattice == pytest.approx(ROCK_SALT.lattice)
    assert trajectory.frames[0].energy > trajectory.frames[-1].energy == pytest.approx(label.energy, abs=0.01)
    assert label.forces.shape == (2, 3)
    assert label.stress.shape == (6,)
    assert label.crystal.amounts == ROCK_SALT.amounts


def test_a_static_run_moves_nothing(label_engine: Engine):
    label = label_engine.static(CUBIC)
    assert label.steps == 0
    assert label.crystal.lattice == pytest.approx(CUBIC.lattice)
    assert label.crystal.frac_coords == pytest.approx(CUBIC.frac_coords)


@pytest.mark.usefixtures("many_runs")
def test_single_energies_equal_static_ones(label_engine: Engine):
    crystals = [ROCK_SALT, CUBIC, ROCK_SALT]
    expected = [label_engine.static(crystal).energy for crystal in crystals]
    assert label_engine.energies(crystals) == pytest.approx(expected, abs=1e-4)
    assert label_engine.energies([]) == []


def test_the_order_of_the_atoms_does_not_matter(label_engine: Engine):
    order = [2, 0, 3, 1]
    shuffled = Crystal(CUBIC.lattice, CUBIC.numbers[order], CUBIC.frac_coords[order])
    one, other = label_engine.static(CUBIC), label_engine.static(shuffled)
    assert other.energy == pytest.approx(one.energy, abs=1e-4)
    assert other.forces == pytest.approx(one.forces[order], abs=1e-3)


def test_a_doubled_cell_has_twice_the_energy(label_engine: Engine):
    shift = np.array([[0.5, 0, 0]])
    halved = ROCK_SALT.frac_coords * [0.5, 1, 1]
    doubled = Crystal(
        ROCK_SALT.lattice * [[2], [1], [1]], np.tile(ROCK_SALT.numbers, 2), np.vstack([halved, halved + shift])
    )
    one, two = label_engine.energies([ROCK_SALT, doubled])
    assert two == pytest.approx(2 * one, abs=1e-3)


def test_too_few_steps_are_a_failure_with_its_class(label_engine: Engine):
    with pytest.raises(LabelFailure) as failure:
        label_engine.relax(ROCK_SALT, Relaxation(0.001, 1), Trajectory())
    assert failure.value.error_class == ErrorClass.NOT_CONVERGED_IONIC


@pytest.mark.parametrize("edge", [1.0, 40.0])
def test_a_cell_that_explodes_or_is_no_matter_is_a_failure_with_a_known_class(label_engine: Engine, edge: float):
    """Squeezed to an angstrom, or atoms so far apart that nothing holds them: never a label."""
    wild = Crystal(np.eye(3) * edge, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(LabelFailure) as failure:
        label_engine.relax(wild, Relaxation(0.05, 60), Trajectory())
    assert failure.value.error_class in set(ErrorClass)


@pytest.mark.parametrize(
    ("crystal", "error_class"),
    [
        (Crystal(np.eye(3) * 0.1, [11], [[0, 0, 0]]), ErrorClass.UNPHYSICAL_VOLUME),
        (Crystal(np.eye(3) * 4.3, [11, 17], [[0, 0, 0], [0.01, 0, 0]]), ErrorClass.OVERLAPPING_ATOMS),
        (Crystal(np.eye(3) * 15.0, [8, 8], [[0, 0, 0], [0.08, 0, 0]]), ErrorClass.UNPHYSICAL_VOLUME),
    ],
    ids=["a tiny cell", "overlapping atoms", "a molecule in a box"],
)
def test_what_no_relaxation_can_mend_is_refused_before_the_first_step(
    label_engine: Engine, crystal: Crystal, error_class: ErrorClass
):
    trajectory = Trajectory()
    for ask in (partial(label_engine.relax, relaxation=Relaxation(0.05, 60)), label_engine.static):
        with pytest.raises(LabelFailure) as failure:
            ask(crystal, trajectory=trajectory)
        assert failure.value.error_class == error_class
    assert trajectory.frames == []


def test_an_element_that_the_engine_lacks_is_named(label_engine: Engine):
    einsteinium = Crystal(ROCK_SALT.lattice, [99, 17], ROCK_SALT.frac_coords)
    if label_engine.name == "stand-in":
        pytest.skip("pairs of any elements bind")
    with pytest.raises(LabelFailure, match="Es") as failure:
        label_engine.relax(einsteinium, Relaxation(0.05, 60), Trajectory())
    assert failure.value.error_class == ErrorClass.UNSUPPORTED_ELEMENT


def test_a_check_may_stop_a_relaxation(label_engine: Engine):
    def lost() -> None:
        raise LeaseLost("the row is another's by now")

    with pytest.raises(LeaseLost):
        label_engine.relax(ROCK_SALT, Relaxation(0.05, 100), Trajectory(lost))


@pytest.mark.parametrize(
    ("crystal", "energy", "error_class"),
    [
        (ROCK_SALT, float("nan"), ErrorClass.GEOMETRY_EXPLODED),
        (ROCK_SALT, -500.0, ErrorClass.UNPHYSICAL_ENERGY),
        (ROCK_SALT.scaled(2.0), -6.0, ErrorClass.UNPHYSICAL_VOLUME),
        (ROCK_SALT.scaled(900.0), -6.0, ErrorClass.UNPHYSICAL_VOLUME),
    ],
)
def test_guard_rails(crystal: Crystal, energy: float, error_class: ErrorClass):
    with pytest.raises(LabelFailure) as failure:
        check_plausible(crystal, energy)
    assert failure.value.error_class == error_class


def test_an_engine_that_is_not_here_is_a_failure_another_node_may_mend():
    with pytest.raises(LabelFailure) as failure:
        engine_of(replace(load_level("chgnet"), engine="vasp-on-the-moon"))
    assert failure.value.error_class == ErrorClass.MISSING_ENGINE
