"""Placing processes are killed in the middle of it, and several work on one system: the hull is that of a rebuild."""

from __future__ import annotations

import random
import time

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from registry import queue
from registry.hull.store import place
from registry.models import HullState
from registry.states import Kind
from tests import factories as make
from tests.faults.processes import daemon

LEASE, BATCH = 1.0, 7
FORMULAS = ("Na", "Cl", "K", "NaCl", "NaCl3", "KCl", "NaK", "NaKCl2", "NaKCl3", "Na2KCl3")
COUNT = 300
REFERENCES = {"Na": -1.0, "Cl": -2.0, "K": -1.5}


@pytest.fixture
def labelled(engine: Engine) -> int:
    """A level with many labels that no hull has taken note of, all of one system."""
    rng = random.Random(0)
    with Session(engine) as session, session.begin():
        level = make.level(session, "fixed", references=REFERENCES)
        for number in range(COUNT):
            crystal = make.structure(session, FORMULAS[number % len(FORMULAS)])
            make.calculation(session, crystal, level, energy=rng.uniform(-3.5, -1.0) * crystal.nsites)
        return level.id


def placed(engine: Engine) -> int:
    with Session(engine) as session:
        current = select(func.count()).select_from(HullState).where(HullState.valid_to.is_(None))
        return session.execute(current).scalar_one()


def until_done(engine: Engine, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while queue.open_work(engine, Kind.PLACE):
        assert time.monotonic() < deadline, f"{placed(engine)} placed"
        time.sleep(0.1)


def equals_a_rebuild(engine: Engine, level_id: int) -> None:
    assert placed(engine) == COUNT
    with Session(engine) as session:
        assert place(session, level_id).changed == 0


def test_killed_in_the_middle_of_placing(engine: Engine, database_url: str, labelled: int):
    for share in (0.1, 0.4, 0.7):
        with daemon("placing", database_url, LEASE, BATCH) as killed:
            deadline = time.monotonic() + 90
            while placed(engine) < share * COUNT:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            killed.kill()
            killed.wait()
    assert placed(engine) < COUNT
    with daemon("placing", database_url, LEASE, BATCH):
        until_done(engine)
    equals_a_rebuild(engine, labelled)


def test_two_place_into_one_system_at_once(engine: Engine, database_url: str, labelled: int):
    with daemon("placing", database_url, LEASE, BATCH), daemon("placing", database_url, LEASE, BATCH):
        until_done(engine)
    equals_a_rebuild(engine, labelled)
