"""The system of record at size: bulk load, pages, bytes per structure.

    python -m benchmarks.record [--quick] [--rows N] [--home FOLDER]

On an embedded PostgreSQL of its own with default settings: N synthetic structures (benchmarks/record_data.py; two
million, with --quick 100,000) and, where LODE_TEST_DATA is set and not --quick, the real crystals there, imported.
Rates of loading are of the same rows by SQLAlchemy's insert(), by its insert().returning(id), which tells the ids as
ours does, and by ours, in turns, into the same indexed tables.
Times of pages are of registry.query.materials.search as everybody calls it: 50 materials with every field, and the
count of all matches. With --home the registry stays and is used again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.orm import Session

from benchmarks.record_data import BATCH, Synthetic, label_and_place, level
from registry import bulk, embedded
from registry.database import engine_for
from registry.models import Composition, Structure
from registry.query.materials import COUNT_CAP, search
from registry.schema import upgrade

TIMED_BATCHES = 3
REPEATS = 100
PAGES = 1_000
TABLES = ("structure", "composition", "prototype", "calculation", "hull_state")


@contextmanager
def registry(home: Path | None) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="lode-bench-") as scratch:
        folder = home or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        engine = engine_for(embedded.start(folder))
        upgrade(engine)
        try:
            yield engine
        finally:
            engine.dispose()
            embedded.stop(folder)


def load(engine: Engine, count: int) -> dict[str, float]:
    """Fill the registry; rows per second of both ways of storing, on the last batches of the load."""
    with Session(engine, expire_on_commit=False) as session:
        synthetic = Synthetic(session)
        level_id = level(session)
        ours: list[float] = []
        for rows in synthetic.batches(count):
            seconds = timed(lambda rows=rows: bulk.add_missing(session, Structure, "public_id", rows))
            session.commit()
            ours.append(len(rows) / seconds)
        rates = against_sqlalchemy(session, synthetic)
        start = time.perf_counter()
        label_and_place(session, level_id, synthetic.source)
        session.commit()
        rates["label_and_place_rows_per_s"] = count / (time.perf_counter() - start)
    settle(engine)
    return {"load_rows_per_s": float(np.median(ours)), **rates}


def against_sqlalchemy(session: Session, synthetic: Synthetic) -> dict[str, float]:
    """The same rows by each, rolled back, in turns, into the full tables."""
    rates: dict[str, list[float]] = {"copy": [], "insert": [], "insert_returning": []}
    returning = insert(Structure).returning(Structure.id, sort_by_parameter_order=True)
    for rows in synthetic.batches(TIMED_BATCHES * BATCH):
        session.commit()  # the compositions stay
        for name, store in (
            ("insert", lambda rows=rows: session.execute(insert(Structure), rows)),
            ("insert_returning", lambda rows=rows: session.scalars(returning, rows).all()),
            ("copy", lambda rows=rows: bulk.add_missing(session, Structure, "public_id", rows)),
        ):
            rates[name].append(len(rows) / timed(store))
            session.rollback()
    speeds = {f"{name}_rows_per_s": float(np.median(rate)) for name, rate in rates.items()}
    ratios = {name: np.median(np.array(rates["copy"]) / np.array(rates[name])) for name in rates if name != "copy"}
    return speeds | {f"copy_over_{name}": float(ratio) for name, ratio in ratios.items()}


def settle(engine: Engine) -> None:
    """What the server does by itself some minutes after a load."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def timed(task: Callable[[], Any]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def sizes(engine: Engine) -> dict[str, float]:
    """Bytes on disk per structure, indexes and TOAST included."""
    with engine.connect() as connection:
        rows = int(connection.scalar(select(func.count()).select_from(Structure)) or 1)
        size = {name: connection.scalar(text(f"SELECT pg_total_relation_size('{name}')")) / rows for name in TABLES}
    return {**{f"bytes_{name}": value for name, value in size.items()}, "bytes_all": sum(size.values())}


def questions(session: Session, rng: random.Random) -> dict[str, Callable[[], dict[str, Any]]]:
    """Name -> a maker of arguments of `search`, other ones each time."""
    systems = list(
        session.scalars(select(Composition.chemsys).where(Composition.nelements.in_((3, 4))).limit(200_000).distinct())
    )
    labels = list(session.scalars(text("SELECT label FROM prototype TABLESAMPLE SYSTEM (20) LIMIT 500")))
    common = ["O", "Li", "Fe", "Si", "Mg", "Al", "P", "S", "Mn", "Ca", "F", "Na"]

    def within() -> dict[str, Any]:
        names = ", ".join(f'"{one}"' for one in rng.choice(systems).split("-"))
        return {"filter": f"elements HAS ONLY {names}"}

    return {
        "chemical system and its subsystems": within,
        "contains Li and O, e_above_hull < 0.05": lambda: {
            "filter": f'elements HAS ALL "Li","O" AND e_above_hull < {rng.uniform(0.045, 0.055):.6f}'
        },
        "contains two others, e_above_hull < 0.05": lambda: {
            "filter": "elements HAS ALL {} AND e_above_hull < 0.05".format(
                ", ".join(f'"{one}"' for one in rng.sample(common, 2))
            )
        },
        "prototype": lambda: {"filter": f'prototype = "{rng.choice(labels)}"'},
        "stable ones of a space group": lambda: {
            "filter": f"is_stable = TRUE AND spacegroup_number = {rng.randint(1, 230)}"
        },
    }


def pages(session: Session, rng: random.Random) -> dict[str, dict[str, float]]:
    """Milliseconds of each question: median and 95th percentile, with and without the count."""
    found = {}
    for name, make in questions(session, rng).items():
        asked = [make() for _ in range(REPEATS)]
        search(session, **asked[0], level="synthetic")
        whole = [
            1000 * timed(lambda one=one: search(session, **one, level="synthetic", count_up_to=COUNT_CAP))
            for one in asked
        ]
        page = [1000 * timed(lambda one=one: search(session, **one, level="synthetic")) for one in asked]
        found[name] = {
            "p50_ms": float(np.percentile(whole, 50)),
            "p95_ms": float(np.percentile(whole, 95)),
            "page_p95_ms": float(np.percentile(page, 95)),
        }
    return found


def keyset(session: Session) -> dict[str, float]:
    """Milliseconds of page 1 and of page 1,000 of everything by e_above_hull, and their ratio."""
    first = search(session, "", level="synthetic")
    cursor = first.next
    for _ in range(PAGES - 2):
        if cursor is None:
            break
        cursor = search(session, "", level="synthetic", cursor=cursor, fields=["id"]).next
    early, late = [], []
    for _ in range(REPEATS):
        early.append(1000 * timed(lambda: search(session, "", level="synthetic")))
        late.append(1000 * timed(lambda: search(session, "", level="synthetic", cursor=cursor)))
    ratio = float(np.median(late) / np.median(early))
    return {"page_1_ms": float(np.median(early)), "page_1000_ms": float(np.median(late)), "page_1000_over_1": ratio}


def import_real(engine: Engine) -> dict[str, float]:
    """The real crystals of the test data, through the importer: seconds a thousand."""
    from registry.imports import import_file
    from registry.terms import SourceTerms

    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        return {}
    path = next((Path(folder) / "mp_structures").glob("*.parquet"))
    start = time.perf_counter()
    with Session(engine) as session:
        report = import_file(session, path, None, SourceTerms("real"), lambda _count: None)
    seconds = time.perf_counter() - start
    settle(engine)
    return {"real_read": report.read, "real_imported": report.imported, "real_crystals_per_s": report.read / seconds}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="within 60 s")
    arguments.add_argument("--rows", type=int)
    arguments.add_argument("--home", type=Path)
    chosen = arguments.parse_args()
    count = chosen.rows or (100_000 if chosen.quick else 2_000_000)
    result: dict[str, Any] = {"rows": count}
    with registry(chosen.home) as engine:
        with Session(engine) as session:
            filled = session.scalar(select(Structure.id).limit(1)) is not None
        if not filled:
            result |= load(engine, count)
            result |= {} if chosen.quick else import_real(engine)
        result |= sizes(engine)
        with Session(engine) as session:
            result["pages"] = pages(session, random.Random(1))
            result |= keyset(session)
    report(result)


def report(result: dict[str, Any]) -> None:
    for name, value in result.items():
        if name != "pages":
            print(f"{name:32} {value:>14,.2f}")
    print(f"\n{'page of 50, milliseconds':44} {'p50':>8} {'p95':>8} {'p95 without count':>18}")
    for name, row in result["pages"].items():
        print(f"{name:44} {row['p50_ms']:8.2f} {row['p95_ms']:8.2f} {row['page_p95_ms']:18.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
