"""Labels a second, from their rows to visible hull states, on a PostgreSQL of its own with default settings.

Crystals of 1 to 6 elements; a level with fixed references. Some are labelled and placed first. The others' labels come
in batches, each a transaction, no more than HELD waiting at once; a worker process places them. The clock runs
from when the worker has placed its first batch until the states of all others are seen.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session

from benchmarks.hull_data import bound, pair_energies
from benchmarks.record import registry, settle
from benchmarks.record_data import NUMBERS, Synthetic
from registry import bulk
from registry.database import engine_for
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from registry.models import Calculation, Level, Structure
from workers.loop import Loop
from workers.place import PlaceDaemon

BATCH = 250
HELD = 4_000
SECONDS = 600.0
"""How long all may take."""

CRYSTALS = """
SELECT structure.id, source_id, nsites, elements, amounts
FROM structure JOIN composition ON composition.id = structure.composition_id ORDER BY structure.id"""
VISIBLE = "SELECT count(*) FROM hull_state WHERE valid_to IS NULL"

Rows = list[dict[str, Any]]


def labels_a_second(placed: int, count: int) -> dict[str, float]:
    """With so many placed before, and so many labels that come."""
    with registry(None) as engine:
        rows = _labels(engine, placed + count)
        with engine.begin() as connection:
            connection.execute(insert(Calculation), rows[:placed])
        Loop(engine, [PlaceDaemon()], drain=True).run()
        settle(engine)
        with _worker(engine):
            _placed_as_they_come(engine, placed, rows[placed : placed + BATCH])
            placed += BATCH
            seconds = _placed_as_they_come(engine, placed, rows[placed:])
    rate = (len(rows) - placed) / seconds
    return {"placed_before": placed, "labels": len(rows) - placed, "seconds": seconds, "labels_per_s": rate}


def work(url: str) -> None:
    """The worker process."""
    loop = Loop(engine_for(url), [PlaceDaemon()])
    loop.stop_on_signals()
    loop.run()


@contextmanager
def _worker(engine: Engine) -> Iterator[None]:
    url = engine.url.render_as_string(hide_password=False)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(url,))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _placed_as_they_come(engine: Engine, before: int, rows: Rows) -> float:
    """Seconds from the first row until all states are seen."""
    start, sent, seen = time.perf_counter(), 0, 0
    while seen < len(rows):
        while sent < len(rows) and sent - seen < HELD:
            with engine.begin() as connection:
                connection.execute(insert(Calculation), rows[sent : sent + BATCH])
            sent += BATCH
        with engine.connect() as connection:
            seen = int(connection.scalar(text(VISIBLE)) or 0) - before
        time.sleep(0.02)
        if time.perf_counter() - start > SECONDS:
            raise TimeoutError(f"{seen} of {len(rows)} labels placed after {SECONDS:g} s")
    return time.perf_counter() - start


def _labels(engine: Engine, count: int) -> Rows:
    """Rows of calculations for as many stored crystals, with energies of `hull_data.bound`."""
    with Session(engine) as session, session.begin():
        level_id = _level(session)
        synthetic = Synthetic(session)
        for rows in synthetic.batches(count):
            bulk.add_missing(session, Structure, "public_id", rows)
        crystals = session.execute(text(CRYSTALS)).all()
    return [_label(row, level_id, energy) for row, energy in zip(crystals, _energies(crystals), strict=True)]


def _level(session: Session) -> int:
    columns: dict[str, Any] = {"engine": "none", "functional": "PBE", "correction_scheme": "none", "settings": {}}
    columns |= {"references": {SYMBOLS[number]: 0.0 for number in NUMBERS}, "tabulated": [], "note": ""}
    row = Level(name="synthetic", settings_hash="synthetic", **columns)
    session.add(row)
    session.flush()
    return row.id


def _energies(crystals: Any) -> Any:
    """(n,) eV/atom against the elements at 0."""
    numbers, amounts = np.zeros((2, len(crystals), 6), dtype=np.int64)
    for at, row in enumerate(crystals):
        numbers[at, : len(row.elements)] = [ATOMIC_NUMBERS[element] for element in row.elements]
        amounts[at, : len(row.elements)] = row.amounts
    return bound(numbers, amounts, pair_energies()) + np.random.default_rng(0).exponential(0.1, len(crystals))


def _label(crystal: Any, level_id: int, energy: float) -> dict[str, Any]:
    return {
        "level_id": level_id,
        "source_id": crystal.source_id,
        "initial_structure_id": crystal.id,
        "final_structure_id": crystal.id,
        "task": "static",
        "state": "converged",
        "energy": float(energy * crystal.nsites),
        "correction": 0.0,
        "settings": {},
        "engine_version": "synthetic",
        "attempt": 1,
        "node": "synthetic",
    }
