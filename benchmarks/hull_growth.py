"""Rebuild and insertions at one size, in a process of its own so that its peak of memory is told.

    python -m benchmarks.hull_growth COUNT [--insert N]

The last line is JSON. Entries come as columns; insertions one by one, into a hull of COUNT entries.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hull_data import entries_of, synthetic_table
from registry.hull.geometry import Entry, EntryTable, compute_hull, warm
from registry.hull.incremental import LiveHull

REPEATS, MANY = 3, 1_500_000
"""A rebuild is repeated so often, and until so many entries were placed."""

CHUNKS = 10
COMPARED = 200_000
"""Results that are compared with a rebuild's after the insertions: so many at most, the moved ones among them."""


def measured(count: int, insert: int = 0) -> dict[str, Any]:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.hull_growth", str(count), "--insert", str(insert)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rebuild(table: EntryTable) -> dict[str, float]:
    """Wall and CPU seconds on 2 threads, the best of a few; peak of the process in GB, the entries included."""
    walls, seconds = [], []
    for _ in range(max(REPEATS, MANY // len(table))):
        start, cpu = time.perf_counter(), time.process_time()
        solved = compute_hull(table, threads=2)
        walls.append(time.perf_counter() - start)
        seconds.append(time.process_time() - cpu)
    shape = {"systems": len(solved.phases.system_low), "stable": int(solved.is_stable.sum())}
    return {"entries": len(table), **shape, "wall": min(walls), "cpu": min(seconds), "peak_gb": peak_gb()}


def peak_gb() -> float:
    """Of this process alone: `ru_maxrss` may be that of the one which started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def insertions(table: EntryTable, new: list[Entry]) -> dict[str, Any]:
    """Milliseconds of one insertion, and how many results differ from a rebuild's afterwards."""
    live = LiveHull(table)
    taken, told = [], set[int]()
    for entry in new:
        start = time.perf_counter()
        moved = live.update([entry])
        taken.append(1000 * (time.perf_counter() - start))
        told.update(moved)
    stable = np.array([live[int(entry.key)].is_stable for entry in new])
    times = np.array(taken)
    return {
        "inserted": len(new),
        "stable_ms": best_median(times, stable),
        "unstable_ms": best_median(times, ~stable),
        "all_stable_ms": float(np.median(times[stable])),
        "all_unstable_ms": float(np.median(times[~stable])),
        "p99_ms": float(np.percentile(times, 99)),
        "max_ms": float(times.max()),
        "peak_gb": peak_gb(),
        **differing(live, table, new, told),
    }


def best_median(times: np.ndarray[Any, Any], which: np.ndarray[Any, Any]) -> float:
    """The median of the quietest tenth of the run: others work on the machine too."""
    chunks = zip(np.array_split(times, CHUNKS), np.array_split(which, CHUNKS), strict=True)
    return float(min(np.median(part[these]) for part, these in chunks if these.any()))


def differing(live: LiveHull, table: EntryTable, new: list[Entry], told: set[int]) -> dict[str, int]:
    entries = synthetic_table(len(table) + len(new))
    afresh = compute_hull(entries, threads=2)
    others = np.random.default_rng(0).permutation(len(entries))[:COMPARED].tolist()
    keys = list(dict.fromkeys([*sorted(told), *others]))[:COMPARED]
    keys = [key for key in keys if live.is_placed(key)]
    results = live.results(keys)
    return {"compared": len(keys), "differing": sum(one != afresh[key] for key, one in zip(keys, results, strict=True))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--insert", type=int, default=0)
    chosen = parser.parse_args()
    warm()
    table = synthetic_table(chosen.count)
    found: dict[str, Any] = rebuild(table)
    if chosen.insert:
        found["insert"] = insertions(table, entries_of(synthetic_table(chosen.count + chosen.insert), chosen.count))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
