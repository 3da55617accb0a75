"""Policies by error class, and how an engine's remedies follow each other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.states import ErrorClass
from workers.engines.gpaw import REMEDIES
from workers.retries import MAX_ATTEMPTS, POLICIES, Then, next_changes, retry_delay

SLOW, SLOWER = {"mixer": 0.05}, {"mixer": 0.02}
LADDERS = {"not_converged_electronic": (SLOW, SLOWER), "geometry_exploded": ({"max_step": 0.03},)}


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_every_class_has_a_policy_and_an_end(error_class: ErrorClass):
    policy = POLICIES[error_class]
    assert (retry_delay(error_class, 1) is None) == (policy.then in (Then.CHANGED, Then.NEVER))
    assert (retry_delay(error_class, 1, changed=True) is None) == (policy.then is Then.NEVER)
    assert retry_delay(error_class, MAX_ATTEMPTS, changed=True) is None


def test_the_delay_doubles():
    assert [retry_delay(ErrorClass.OUT_OF_MEMORY, attempt) for attempt in (1, 2)] == [30.0, 60.0]


def test_remedies_follow_each_other_and_end():
    first = next_changes(LADDERS, "not_converged_electronic", {})
    assert first == SLOW
    second = next_changes(LADDERS, "not_converged_electronic", SLOW)
    assert second == SLOWER
    assert next_changes(LADDERS, "not_converged_electronic", SLOWER) is None
    assert next_changes(LADDERS, "bug", {}) is None


def test_what_one_failure_changed_stays_for_the_next():
    after_both = next_changes(LADDERS, "geometry_exploded", SLOW)
    assert after_both == {"mixer": 0.05, "max_step": 0.03}
    assert next_changes(LADDERS, "not_converged_electronic", after_both) == {"mixer": 0.02, "max_step": 0.03}


@given(st.lists(st.sampled_from([*LADDERS, "bug"]), max_size=30))
def test_no_way_is_tried_twice(failures: list[str]):
    changes: Mapping[str, object] = {}
    seen = [changes]
    for failure in failures:
        following = next_changes(LADDERS, failure, changes)
        if following is not None:
            assert following not in seen
            seen.append(following)
            changes = following


ACCURACY = {"cutoff", "cutoffs", "energy", "density", "force_tolerance", "density_metal", "density_insulator", "xc",
            "width_metal", "width_insulator", "stress_slack", "moments"}  # fmt: skip


@pytest.mark.parametrize("steps", REMEDIES.values())
def test_no_remedy_of_gpaw_touches_what_an_energy_is_made_of(steps: tuple[Mapping[str, object], ...]):
    assert not any(ACCURACY & step.keys() for step in steps)
