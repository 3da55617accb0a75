"""Claims under load and under death: every row has one owner, and a result needs the token."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import LeaseLost
from registry.models import Source, Work
from registry.states import Kind, WorkState
from tests import factories as make

ATTEMPTS = 3


def add_rows(engine: Engine, count: int, **columns: object) -> None:
    with Session(engine) as session, session.begin():
        for _ in range(count):
            make.work(session, **columns)


def claim(engine: Engine, batch: int = 1, lease: float = 60.0) -> list[queue.Claim]:
    return queue.claim(engine, Kind.LABEL, queue.register(engine, [Kind.LABEL]), batch, lease)


def rows(engine: Engine) -> list[Work]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.query(Work).order_by(Work.id))


def expire(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET lease_until = now() - interval '1 s' WHERE state = 'running'"))


def test_a_claim_takes_the_most_urgent_rows_of_its_kind(engine: Engine):
    add_rows(engine, 1, priority=5, subject_id=500)
    add_rows(engine, 1, priority=1, subject_id=100)
    add_rows(engine, 1, priority=0, subject_id=900, run_after=datetime.now(UTC) + timedelta(hours=1))
    add_rows(engine, 1, priority=0, subject_id=901, kind="score")
    assert [one.subject_id for one in claim(engine)] == [100]
    assert [one.subject_id for one in claim(engine, batch=9)] == [500]
    assert claim(engine) == []


def test_a_claim_counts_the_attempt_and_carries_one_token(engine: Engine):
    add_rows(engine, 3)
    taken = claim(engine, batch=3)
    assert {one.attempts for one in taken} == {1}
    assert len({one.token for one in taken}) == 1
    assert {row.state for row in rows(engine)} == {WorkState.RUNNING}


def test_a_beat_prolongs_what_is_held(engine: Engine):
    add_rows(engine, 2)
    worker = queue.register(engine, [Kind.LABEL])
    taken = queue.claim(engine, Kind.LABEL, worker, 2, lease_seconds=1)
    before = rows(engine)[0].lease_until
    assert queue.beat(engine, taken[0].token, worker, 600) == 2
    after = rows(engine)[0].lease_until
    assert before is not None
    assert after is not None
    assert after - before > timedelta(seconds=500)
    assert queue.beat(engine, uuid.uuid4(), worker, 600) == 0


def fail(engine: Engine, claim: queue.Claim, elsewhere: bool) -> None:
    with Session(engine) as session, session.begin():
        queue.fail(session, claim, "out_of_memory", "too large", 0.0, elsewhere)


def other_host(engine: Engine, kinds: list[str], beat: str = "now()") -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO worker (kinds, host, pid, beat_at) VALUES (%(kinds)s, 'large-node', 1, {beat})",
            {"kinds": kinds},
        )


def test_what_failed_for_its_host_is_left_to_others_while_there_are_any(engine: Engine):
    """And costs no attempt so long: many hosts may lack an engine."""
    add_rows(engine, 1)
    other_host(engine, ["label"])
    fail(engine, claim(engine)[0], elsewhere=True)
    assert [(row.state, row.attempts, row.failed_on) for row in rows(engine)] == [("waiting", 0, [queue.HOST])]
    assert claim(engine) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE worker SET stopped_at = now() WHERE host = 'large-node'"))
    again = claim(engine)
    assert [one.attempts for one in again] == [1]
    fail(engine, again[0], elsewhere=True)
    assert [(row.state, row.attempts) for row in rows(engine)] == [("waiting", 1)]


def test_others_that_are_gone_or_do_other_work_are_not_waited_for(engine: Engine):
    other_host(engine, ["score", "place"])
    other_host(engine, ["label"], beat="now() - interval '1 hour'")
    add_rows(engine, 1)
    fail(engine, claim(engine)[0], elsewhere=True)
    again = claim(engine)
    assert [one.attempts for one in again] == [2]
    other_host(engine, ["label"])
    fail(engine, again[0], elsewhere=False)
    assert [one.attempts for one in claim(engine)] == [3]


def test_three_hosts_that_lack_an_engine_do_not_bury_what_a_fourth_can_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    add_rows(engine, 1)
    other_host(engine, ["label"])
    for host in ("one", "two", "three"):
        monkeypatch.setattr(queue, "HOST", host)
        fail(engine, claim(engine)[0], elsewhere=True)
        assert claim(engine) == []
    monkeypatch.setattr(queue, "HOST", "large-node")
    assert [one.attempts for one in claim(engine)] == [1]


def test_a_lease_that_ended_while_the_server_was_away_has_a_minute(engine: Engine):
    add_rows(engine, 1)
    claim(engine)
    with engine.begin() as connection:
        begun = "(SELECT pg_postmaster_start_time())"
        connection.execute(text(f"UPDATE work SET lease_until = {begun} - interval '1 s'"))
        young = connection.execute(text(f"SELECT now() < {begun} + interval '55 s'")).scalar_one()
    assert queue.rescue(engine, ATTEMPTS) == (0 if young else 1)


def test_finishing_removes_the_row(engine: Engine):
    add_rows(engine, 1)
    taken = claim(engine)[0]
    with Session(engine) as session, session.begin():
        queue.finish(session, taken)
    assert rows(engine) == []


def store_result(engine: Engine, claim: queue.Claim) -> None:
    with Session(engine) as session, session.begin():
        session.add(Source(name="the result", licence="", citation=""))
        session.flush()
        queue.finish(session, claim)


def test_a_late_result_is_rolled_back_with_its_finish(engine: Engine):
    add_rows(engine, 1)
    late = claim(engine)[0]
    expire(engine)
    assert queue.rescue(engine, ATTEMPTS) == 1
    again = claim(engine)[0]
    assert (again.id, again.attempts) == (late.id, 2)
    with pytest.raises(LeaseLost):
        store_result(engine, late)
    with pytest.raises(LeaseLost), Session(engine) as session, session.begin():
        queue.fail(session, late, "bug", "late", None)
    with Session(engine) as session, session.begin():
        assert session.query(Source).count() == 0
        queue.finish(session, again)
    assert rows(engine) == []


def test_a_failure_waits_for_its_delay(engine: Engine):
    add_rows(engine, 1)
    with Session(engine) as session, session.begin():
        queue.fail(session, claim(engine)[0], "out_of_memory", "too big", retry_after=3600)
    row = rows(engine)[0]
    assert (row.state, row.error_class, row.error, row.token) == (WorkState.WAITING, "out_of_memory", "too big", None)
    assert row.run_after > datetime.now(UTC) + timedelta(minutes=50)
    assert claim(engine) == []


def test_the_last_failure_buries_and_retry_revives(engine: Engine):
    add_rows(engine, 1)
    with Session(engine) as session, session.begin():
        queue.fail(session, claim(engine)[0], "bug", "it broke", retry_after=None)
    assert rows(engine)[0].state == WorkState.DEAD
    assert queue.retry(engine, Kind.PLACE) == 0
    assert queue.retry(engine) == 1
    assert claim(engine)[0].attempts == 1


def test_a_row_whose_worker_dies_each_time_ends_dead(engine: Engine):
    add_rows(engine, 1)
    for attempt in range(1, ATTEMPTS + 1):
        assert [one.attempts for one in claim(engine)] == [attempt]
        expire(engine)
        assert queue.rescue(engine, ATTEMPTS) == 1
    row = rows(engine)[0]
    assert (row.state, row.error_class) == (WorkState.DEAD, "node_lost")
    assert claim(engine) == []


def test_a_row_that_kills_its_workers_buries_no_other(engine: Engine):
    add_rows(engine, 3)
    killer, *others = [one.id for one in claim(engine, batch=3)]
    expire(engine)
    assert queue.rescue(engine, ATTEMPTS) == 3
    for _ in range(ATTEMPTS - 1):
        assert [one.id for one in claim(engine, batch=3)] == [killer]
        expire(engine)
        queue.rescue(engine, ATTEMPTS)
    for other in others:
        (alone,) = claim(engine, batch=3)
        assert (alone.id, alone.attempts) == (other, 2)
    assert [row.state for row in rows(engine) if row.id == killer] == [WorkState.DEAD]


def test_rescue_leaves_living_leases_alone(engine: Engine):
    add_rows(engine, 1)
    claim(engine)
    assert queue.rescue(engine, ATTEMPTS) == 0


def test_giving_back_costs_no_attempt(engine: Engine):
    add_rows(engine, 2)
    taken = claim(engine, batch=2)
    assert queue.give_back(engine, taken[0].token) == 2
    assert {(row.state, row.attempts) for row in rows(engine)} == {(WorkState.WAITING, 0)}


def test_two_connections_never_claim_the_same_row(engine: Engine):
    add_rows(engine, 200)
    worker = queue.register(engine, [Kind.LABEL])
    taken: list[int] = []

    def take() -> None:
        while claims := queue.claim(engine, Kind.LABEL, worker, 3, 60.0):
            taken.extend(one.id for one in claims)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 200
    assert max(Counter(taken).values()) == 1


def test_two_daemons_enqueue_the_same_row_once(engine: Engine):
    with Session(engine) as session, session.begin():
        make.calculation(session, make.structure(session), make.level(session))
    threads = [threading.Thread(target=queue.enqueue, args=(engine, Kind.PLACE)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(engine)) == 1
    assert queue.enqueue(engine, Kind.PLACE) == 0


def test_the_plan_of_a_claim_reads_the_waiting_index(engine: Engine):
    fill = (
        "INSERT INTO work (kind, subject_id, target_id, priority, state, error_class)"
        " SELECT 'label', n, 1, 0, CASE WHEN mod(n, 50) = 0 THEN 'waiting' ELSE 'dead' END, 'bug'"
        " FROM generate_series(1, 20000) AS n"
    )
    values = {
        "kind": "label",
        "batch": 10,
        "token": uuid.uuid4(),
        "worker_id": None,
        "lease_seconds": 60,
        "host": "here",
    }
    with engine.begin() as connection:
        connection.exec_driver_sql(fill)
        connection.exec_driver_sql("ANALYZE work")
        plan = connection.exec_driver_sql("EXPLAIN " + queue.statements()["claim"], values).scalars().all()
    assert "ix_work_waiting" in "\n".join(plan)
    assert "Seq Scan on work " not in "\n".join(plan)


def test_the_summary_names_every_kind_and_state(engine: Engine):
    add_rows(engine, 2)
    add_rows(engine, 1, kind="place", state="dead")
    with Session(engine) as session:
        found = queue.summary(session)
    assert set(found) == set(Kind)
    assert found["label"] == {"waiting": 2, "running": 0, "dead": 0}
    assert found["place"]["dead"] == 1


def make_missing(engine: Engine) -> None:
    """One composition to search, one crystal to score, one to refine and to label, one to place."""
    with Session(engine) as session, session.begin():
        level = make.level(session)
        model = make.model(session, level)
        proposed = make.structure(session, origin="generated")
        turn = make.campaign_round(session, make.campaign(session, level))
        make.selection(session, proposed, turn, model, purpose="refine")
        make.selection(session, proposed, turn, model, purpose="label")
        make.calculation(session, make.structure(session), level)
        make.search(session, "LiF", level)


def waiting(engine: Engine) -> dict[str, int]:
    with Session(engine) as session:
        return {kind: states["waiting"] for kind, states in queue.summary(session).items()}


def test_what_no_daemon_has_seen_yet_waits(engine: Engine):
    make_missing(engine)
    add_rows(engine, 2)
    before = {**dict.fromkeys(Kind, 1), "label": 3}
    assert waiting(engine) == before
    for kind in Kind:
        assert queue.enqueue(engine, kind) == 1
        assert waiting(engine) == before
    claim(engine, batch=9)
    assert waiting(engine) == {**before, "label": 0}


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_view_and_its_statements(engine: Engine, kind: Kind):
    assert queue.enqueue(engine, kind) == 0
    assert queue.open_work(engine, kind) == 0


def test_rounds_wait_for_their_picks_until_they_are_dead(engine: Engine):
    make_missing(engine)
    assert queue.open_picks(engine) == 1
    queue.enqueue(engine, Kind.LABEL)
    assert queue.open_picks(engine) == 1
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE work SET state = 'dead', error_class = 'bug', error = 'gone' WHERE kind = 'label'")
        )
    assert queue.open_picks(engine) == 0


def test_dead_rows_are_no_open_work(engine: Engine):
    add_rows(engine, 1, state="dead")
    add_rows(engine, 1)
    assert queue.open_work(engine, Kind.LABEL) == 1
