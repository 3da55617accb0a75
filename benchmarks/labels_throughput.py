"""Labels a second by the daemons of `lode worker run label`: two processes against one, each of one thread.

An embedded PostgreSQL of its own, with default settings. Known rock salts of eight atoms, shaken, 48 (with --quick 4),
are selected at a level like LEVEL; a level of another name for each run, so that they are labelled anew.
Runs alternate, one process and two, in turns of order (1 2 2 1 ...). The daemons start and load the potential with a
label each; then the salts are selected, and the clock runs until the last is labelled. The aim is a ratio of 1.8, the
median over pairs of runs after each other. What else runs on the machine counts against two processes, so each run
tells how many cores others used meanwhile; where there are undisturbed pairs, the median is of those. Told as well are
the CPU seconds that the engine took for a label, of which two processes beside each other should need no more than one.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from benchmarks.record import registry
from registry.crystal import Crystal
from registry.errors import LodeError
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level, load_level
from registry.identity.duplicates import Identity
from registry.ingest import NewStructure, source_id, store
from registry.models import Campaign, Round
from registry.queue import ring
from registry.states import Origin
from registry.terms import OWN
from workers.engines.relaxation import to_crystal
from workers.select import pick_references

AIM = 1.8
SALTS, QUICK_SALTS = 48, 4
REPEATS, QUICK_REPEATS = 3, 1
SHAKEN = 0.1  # angstrom
UNDISTURBED = 0.2
"""Cores that may be busy elsewhere, the server of the run included."""

SECONDS = 900.0
"""How long one run may take."""

RADII = {"Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Mg": 0.72, "Ca": 1.00, "Sr": 1.18, "Ba": 1.35,
         "F": 1.33, "Cl": 1.81, "Br": 1.96, "O": 1.40, "S": 1.84, "Se": 1.98}  # fmt: skip
"""angstrom, of ions with six neighbours; Shannon, Acta Cryst. A32, 751 (1976)."""

KINDS = [*itertools.product(("Li", "Na", "K", "Rb"), ("F", "Cl", "Br")),
         *itertools.product(("Mg", "Ca", "Sr", "Ba"), ("O", "S", "Se"))]  # fmt: skip
"""Rock salts all."""

COMMAND = "from api.cli.main import main; main()"
COUNTS = "SELECT state, count(*) FROM calculation WHERE level_id = :level GROUP BY state"
CPU = "SELECT avg(cpu_seconds) FROM calculation WHERE level_id = :level AND state = 'converged'"
READY = "SELECT count(*) FROM worker WHERE stopped_at IS NULL"


def salts(count: int) -> list[Crystal]:
    """Cells of eight atoms, atoms and volume somewhat off; the same ones every time."""
    from ase.build import bulk

    rng, found = np.random.default_rng(0), []
    for cation, anion in itertools.islice(itertools.cycle(KINDS), count):
        atoms = bulk(cation + anion, "rocksalt", a=2 * (RADII[cation] + RADII[anion]), cubic=True)
        atoms.positions += rng.normal(0.0, SHAKEN, atoms.positions.shape)
        found.append(to_crystal(atoms))
    return found


def stored(engine: Engine, crystals: Sequence[Crystal]) -> list[int]:
    with Session(engine) as session, session.begin():
        source = source_id(session, OWN)
        new = [NewStructure(Identity(crystal), Origin.IMPORTED, source) for crystal in crystals]
        return [one.id for one in store(session, new)]


def level_for(engine: Engine, level: Level, name: str) -> tuple[int, int]:
    """Ids of a level of that name and of a round at it."""
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, replace(level, name=name))
        campaign = Campaign(name=name, level_id=level_id)
        session.add(campaign)
        session.flush()
        turn = Round(campaign_id=campaign.id, number=1, settings={})
        session.add(turn)
        session.flush()
        return level_id, turn.id


def select(engine: Engine, level_id: int, round_id: int, structure_ids: Sequence[int]) -> None:
    with Session(engine) as session, session.begin():
        pick_references(session, round_id, level_id, structure_ids)
        ring(session)


def labelled(engine: Engine, level_id: int) -> dict[str, int]:
    """State -> calculations at the level."""
    with engine.connect() as connection:
        return dict(connection.execute(text(COUNTS), {"level": level_id}).tuples().all())


def cpu_seconds(engine: Engine, level_id: int) -> float:
    """Of the engine, per label at the level."""
    with engine.connect() as connection:
        return float(connection.scalar(text(CPU), {"level": level_id}) or float("nan"))


def workers(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(READY)) or 0)


def busy_seconds() -> float:
    """CPU seconds of all processes of the machine since it was started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))  # Linux counts niced processes apart


def own_seconds(pids: Sequence[int]) -> float:
    """CPU seconds of the daemons and of this process."""
    told = [psutil.Process(pid).cpu_times() for pid in (os.getpid(), *pids)]
    return sum(times.user + times.system for times in told)


@contextmanager
def daemon(url: str) -> Iterator[int]:
    """`lode worker run label` in a process of its own; its id."""
    command = [sys.executable, "-c", COMMAND, "worker", "run", "label", "--poll", "0.5"]
    process = subprocess.Popen(command, env={**os.environ, "LODE_DATABASE_URL": url})
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def until(engine: Engine, level_id: int, count: int) -> None:
    """Wait until so many calculations are there, in whatever state. Raise LodeError after SECONDS."""
    began = time.monotonic()
    while sum(labelled(engine, level_id).values()) < count:
        if time.monotonic() - began > SECONDS:
            raise LodeError(f"{labelled(engine, level_id)} of {count} labels after {SECONDS:g} s")
        time.sleep(0.05)


def timed(engine: Engine, at: tuple[int, int], processes: int, ids: Sequence[int]) -> dict[str, Any]:
    """Labels per second of so many processes. ids: of the structures, of which the first few warm the daemons up."""
    (level_id, round_id), url = at, engine.url.render_as_string(hide_password=False)
    with ExitStack() as stack:
        pids = [stack.enter_context(daemon(url)) for _ in range(processes)]
        while workers(engine) < processes:
            time.sleep(0.1)
        select(engine, level_id, round_id, ids[:processes])
        until(engine, level_id, processes)
        began, elsewhere = time.perf_counter(), busy_seconds() - own_seconds(pids)
        select(engine, level_id, round_id, ids[processes:])
        until(engine, level_id, len(ids))
        seconds, elsewhere = time.perf_counter() - began, busy_seconds() - own_seconds(pids) - elsewhere
    states, cpu = labelled(engine, level_id), cpu_seconds(engine, level_id)
    rate = (len(ids) - processes) / seconds
    others = elsewhere / seconds
    print(f"{processes} processes: {rate:.2f} labels/s; {cpu:.2f} CPU s per label; others used {others:.2f} cores; "
          f"{states}", flush=True)  # fmt: skip
    figures = {"labels_per_s": round(rate, 3), "cpu_seconds_per_label": round(cpu, 3), "others": round(others, 2)}
    return {"processes": processes, **figures, "states": states}


def measure(level: str, quick: bool) -> dict[str, Any]:
    """Runs, medians of one and two processes, their ratio."""
    order = [1, 2, 2, 1] * (QUICK_REPEATS if quick else REPEATS)
    order = order[: 2 * (QUICK_REPEATS if quick else REPEATS)]
    with registry(None) as engine:
        ids = stored(engine, salts((QUICK_SALTS if quick else SALTS) + 2))
        runs = [
            timed(engine, level_for(engine, load_level(level), f"run {number}"), processes, ids)
            for number, processes in enumerate(order)
        ]
    pairs = [{run["processes"]: run for run in pair} for pair in zip(runs[::2], runs[1::2], strict=True)]
    quiet = [pair for pair in pairs if all(run["others"] <= UNDISTURBED for run in pair.values())]
    counted = quiet or pairs
    ratio = median(counted, lambda pair: pair[2]["labels_per_s"] / pair[1]["labels_per_s"])
    by_cpu = median(counted, lambda pair: 2 * pair[1]["cpu_seconds_per_label"] / pair[2]["cpu_seconds_per_label"])
    told = f"{len(quiet)} undisturbed pairs of runs" if quiet else "pairs of runs disturbed by others"
    print(f"median of {told}: two processes label {ratio:.2f} times as fast as one (aim {AIM}); by the engine's CPU "
          f"seconds {by_cpu:.2f} times")  # fmt: skip
    ratios = {"ratio": round(ratio, 3), "ratio_by_cpu": round(by_cpu, 3), "undisturbed": bool(quiet)}
    return {**ratios, "runs": runs}


def median(pairs: Sequence[dict[int, Any]], figure: Callable[[dict[int, Any]], float]) -> float:
    """Of runs beside each other: the machine's own pace drifts from minute to minute."""
    return statistics.median(figure(pair) for pair in pairs)
