"""Hulls and filters as of a moment, against hulls solved from the entries that were placed until then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from registry.hull.entries import level_entries
from registry.hull.geometry import HullSolution, compute_hull
from registry.hull.history import history
from registry.hull.store import KeptHulls, place
from registry.models import Calculation
from registry.query.materials import hull_entries, search
from tests import factories as make

FORMULAS = ("Na", "Cl", "K", "NaCl", "NaCl3", "KCl", "NaK", "NaKCl2", "NaKCl3", "Na2KCl3")
ENERGY = st.integers(-60, -20).map(lambda twentieth: twentieth / 20)  # eV/atom, coarse: ties are common
DEED = st.one_of(
    st.tuples(st.just("label"), st.sampled_from(FORMULAS), ENERGY),
    st.tuples(st.just("correct"), st.integers(0, 30), ENERGY),
    st.tuples(st.just("withdraw"), st.integers(0, 30), st.just(0.0)),
)
STEPS = st.lists(st.tuples(st.lists(DEED, min_size=1, max_size=4), st.booleans()), min_size=2, max_size=5)
"""Deeds, then whether the whole level is placed after them, or only what they touched."""

Steps = list[tuple[list[tuple[str, Any, float]], bool]]
EXPOSED = ("formation_energy_per_atom", "e_above_hull", "decomposition_energy", "phase_separation_energy", "is_stable")
EQUAL = 1e-12


@dataclass(frozen=True)
class Then:
    """A moment between two placings, and the hull of the entries placed until then, by calculation."""

    moment: datetime
    solved: HullSolution
    formulas: dict[int, str]

    def of(self, key: int) -> dict[str, Any]:
        result = self.solved[key]
        values = {name: getattr(result, name) for name in EXPOSED}
        return {**values, "formation_energy_per_atom": result.energy}


def do(session: Session, level: str, known: list[int], deed: tuple[str, Any, float]) -> int | None:
    what, which, energy = deed
    if what == "label":
        crystal = make.structure(session, which)
        known.append(make.calculation(session, crystal, make.level(session, level), energy=energy * crystal.nsites).id)
        return known[-1]
    if not known:
        return None
    row = session.get_one(Calculation, known[which % len(known)])
    if what == "correct":
        nsites = session.get_one(make.models.Structure, row.initial_structure_id).nsites
        row.correction = energy * nsites - float(row.energy or 0.0)
    else:
        row.off_hull = "withdrawn"
    session.flush()
    return row.id


def replayed(engine: Engine, steps: Steps, fixed: bool) -> list[Then]:
    """Do the steps, each placed by a batch or by a rebuild."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE level, structure, composition, work, unplaced CASCADE"))
    with Session(engine) as session, session.begin():
        references = {"Na": -1.0, "Cl": -2.0, "K": -1.5} if fixed else {}
        level_id = make.level(session, "level", references=references).id
    kept, known, moments = KeptHulls(), list[int](), []
    for deeds, rebuilt in steps:
        with Session(engine) as session, session.begin():
            touched = [do(session, "level", known, deed) for deed in deeds]
            ids = [one for one in dict.fromkeys(touched) if one is not None]
            place(session, level_id) if rebuilt else kept.place(session, level_id, ids)
        with Session(engine) as session:
            moment = session.scalar(text("SELECT clock_timestamp()"))
            found = level_entries(session, level_id)
            assert moment is not None
            moments.append(Then(moment, compute_hull(found.entries), dict(found.formulas)))
    return moments


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, fixed=st.booleans())
def test_the_hull_as_of_a_moment_is_that_of_the_entries_placed_until_then(
    engine: Engine, steps: Steps, fixed: bool
) -> None:
    moments = replayed(engine, steps, fixed)
    with Session(engine) as session:
        for then in moments:
            rows = hull_entries(session, "Na-K-Cl", "level", then.moment)["entries"]
            assert {row["calculation_id"] for row in rows} == {key for key in then.solved if int(key) > 0}
            for row in rows:
                expected = then.of(row["calculation_id"])
                assert {name: row[name] for name in EXPOSED} == pytest.approx(expected, abs=EQUAL)
                mixture = {share["calculation_id"] or share["reduced_formula"] for share in row["decomposition"]}
                keys = [key for key, _ in then.solved[row["calculation_id"]].decomposition]
                assert mixture == {key if int(key) > 0 else then.formulas[int(key)] for key in keys}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, bar=st.sampled_from([0.0, 0.05, 0.1, 0.4]))
def test_filters_as_of_a_moment_see_that_hull(engine: Engine, steps: Steps, bar: float) -> None:
    moments = replayed(engine, steps, fixed=True)
    with Session(engine) as session:
        names = dict(session.execute(text("SELECT id, initial_structure_id FROM calculation")).tuples().all())
        public = dict(session.execute(text("SELECT id, public_id FROM structure")).tuples().all())
        for then in moments:
            placed = {public[names[int(key)]]: then.of(int(key)) for key in then.solved if int(key) > 0}
            stamp = f'AS OF "{then.moment.isoformat()}"'

            def found(words: str, stamp: str = stamp) -> dict[str, Any]:
                page = search(session, f"{words} {stamp}", "level", limit=200)
                return {row["id"]: row for row in page.data}

            # half of the bar's step away from any coarse energy, so that no rounding decides
            near = found(f"e_above_hull <= {bar + 0.001}")
            assert near.keys() == {key for key, row in placed.items() if row["e_above_hull"] <= bar + 0.001}
            stable = found("is_stable = TRUE")
            assert stable.keys() == {key for key, row in placed.items() if row["is_stable"]}
            deep = found(f"decomposition_energy < {-bar - 0.001}")
            assert deep.keys() == {
                key for key, row in placed.items() if (row["decomposition_energy"] or 0.0) < -bar - 0.001
            }
            assert found("e_above_hull IS KNOWN").keys() == placed.keys()
            for key, row in near.items():
                shown = {name: row[name] for name in EXPOSED if name in row}
                assert shown == pytest.approx({name: placed[key][name] for name in shown}, abs=EQUAL)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_history_holds_every_hull_on_the_way(engine: Engine, steps: Steps) -> None:
    moments = replayed(engine, steps, fixed=True)
    with Session(engine) as session:
        if session.scalar(text("SELECT count(*) FROM hull_state")) == 0:
            return
        entries = history(session, "Na-K-Cl", "level")["entries"]
    for then in moments:
        told = {
            entry["calculation_id"]: state["e_above_hull"]
            for entry in entries
            for state in entry["states"]
            if state["valid_from"] <= then.moment and (state["valid_to"] is None or state["valid_to"] > then.moment)
        }
        assert told == pytest.approx(
            {int(key): then.solved[key].e_above_hull for key in then.solved if int(key) > 0}, abs=EQUAL
        )
    for entry in entries:
        falls = {change["at"] for change in entry["changes"] if change["change"] == "left"}
        assert {fall["at"] for fall in entry["displaced_by"]} <= falls


def test_a_moment_is_its_own_first_and_the_end_of_what_was_before(session: Session) -> None:
    level = make.level(session, "fixed", references={"Na": 0.0, "Cl": 0.0})
    crystal = make.structure(session, "NaCl3")
    make.calculation(session, crystal, level, energy=-0.8)
    place(session, level.id)
    salt = make.structure(session, "NaCl")
    make.calculation(session, salt, level, energy=-2.0)
    place(session, level.id)
    (poor,) = history(session, "NaCl3")["entries"]
    turn = poor["states"][1]["valid_from"]
    for moment, stable in ((turn - timedelta(microseconds=1), True), (turn, False)):
        found = search(session, f'id = "{crystal.public_id}" AS OF "{moment.isoformat()}"', fields=["is_stable"])
        assert found.data == [{"is_stable": stable}]
        rows = hull_entries(session, "Na-Cl", as_of=moment)["entries"]
        assert {row["reduced_formula"]: row["is_stable"] for row in rows}["NaCl3"] is stable
