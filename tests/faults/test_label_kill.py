"""A labelling process dies, or sleeps too long, with a row in its hands: the row is labelled once all the same."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.hull.level_rows import ensure_level
from registry.models import Calculation, Selection, Work, Worker
from registry.states import CalculationState, WorkState
from tests import factories as make
from tests.faults.processes import daemon, until
from tests.workers.standin import standin_level

LEASE = 2.0
SLOW = 0.5  # seconds a step: some ten seconds a relaxation
SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.6, [11, 17], [[0, 0, 0], [0.53, 0.5, 0.5]])


@pytest.fixture
def selected(engine: Engine) -> int:
    """One candidate that waits for its label."""
    with Session(engine) as session, session.begin():
        level = ensure_level(session, standin_level())
        candidate = make.structure(session, "NaCl", origin="generated", arrays=SALT)
        campaign = make.campaign(session, make.level(session, standin_level().name))
        turn = make.campaign_round(session, campaign)
        picked = Selection(round_id=turn.id, structure_id=candidate.id, level_id=level, purpose="label", rank=1)
        make.added(session, picked)
        return candidate.id


def work(engine: Engine) -> list[Work]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Work)))


def calculations(engine: Engine) -> list[Calculation]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Calculation)))


def held(engine: Engine, attempt: int) -> bool:
    return [(row.state, row.attempts) for row in work(engine)] == [(WorkState.RUNNING, attempt)]


def the_only_calculation(engine: Engine, selected: int) -> Calculation:
    found = calculations(engine)
    assert len(found) == 1
    assert (found[0].initial_structure_id, found[0].state) == (selected, CalculationState.CONVERGED)
    return found[0]


def test_a_killed_workers_row_is_labelled_once_by_another(engine: Engine, database_url: str, selected: int):
    with daemon("labelling", database_url, LEASE, SLOW) as killed:
        until(lambda: held(engine, 1))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert held(engine, 1)
    assert calculations(engine) == []
    with daemon("labelling", database_url, LEASE, 0.0), daemon("labelling", database_url, LEASE, 0.0):
        until(lambda: work(engine) == [] and calculations(engine) != [])
        time.sleep(1.0)  # would they do it a second time?
    assert the_only_calculation(engine, selected).attempt == 2
    assert work(engine) == []


def test_a_worker_that_wakes_up_late_drops_its_result(engine: Engine, database_url: str, selected: int):
    with daemon("labelling", database_url, LEASE, SLOW) as frozen:
        until(lambda: held(engine, 1))
        frozen.send_signal(signal.SIGSTOP)
        with daemon("labelling", database_url, LEASE, 0.0):
            until(lambda: work(engine) == [] and calculations(engine) != [])
        winner = the_only_calculation(engine, selected)
        assert winner.attempt == 2
        frozen.send_signal(signal.SIGCONT)
        time.sleep(3.0)  # it sees that its lease is gone
        assert frozen.poll() is None
        frozen.send_signal(signal.SIGTERM)
        assert frozen.wait(30) == 0
    assert the_only_calculation(engine, selected).id == winner.id
    assert work(engine) == []
    with Session(engine) as session:
        assert len(session.scalars(select(Worker)).all()) == 2
