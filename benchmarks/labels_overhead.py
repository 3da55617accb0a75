"""What daemon and database take per label, with an engine that costs nothing.

An embedded PostgreSQL of its own, with default settings. The daemon runs in this process until nothing is left: claim,
crystal, duplicates of what it relaxed to, correction, storing of structure, calculation and frames. The engine
gives back the crystal that it gets after ten steps that it makes up; its own time is taken off. One label of each of so
many salts, 120 (with --quick 40); the first twenty are not counted. The aim is 50 ms per label.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Engine

from benchmarks.labels_throughput import labelled, level_for, salts, select, stored
from benchmarks.record import registry
from registry.crystal import Crystal
from registry.hull.levels import load_level
from workers.engines.base import Frame, Label, Relaxation, Remedies, Trajectory
from workers.label import LabelDaemon
from workers.loop import Loop

AIM = 0.05  # s
STEPS = 10
FIRST, COUNT, QUICK_COUNT = 20, 120, 40


@dataclass
class Free:
    """Relaxes nothing, and tells of ten steps. seconds: what it took all the same."""

    name: str = "free"
    version: str = "free 1"
    remedies: Remedies = field(default_factory=dict)
    seconds: float = 0.0

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:  # noqa: ARG002
        began = time.perf_counter()
        label = self.static(crystal)
        frame = Frame(crystal, label.energy, label.forces, label.stress)
        self.seconds += time.perf_counter() - began
        for _ in range(STEPS):
            trajectory.add(frame)
        return label

    def static(self, crystal: Crystal, *_: object) -> Label:
        forces, stress = np.zeros((crystal.nsites, 3)), np.zeros(6)
        return Label(crystal, -4.0 * crystal.nsites, forces, stress, STEPS, 0.0, 0.0)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        return [-4.0 * crystal.nsites for crystal in crystals]


def drained(engine: Engine, free: Free) -> float:
    """Seconds of daemon and database until all that is selected is labelled."""
    before, began = free.seconds, time.perf_counter()
    Loop(engine, [LabelDaemon(lambda _level: free)], drain=True).run()
    return time.perf_counter() - began - (free.seconds - before)


def measure(level: str, quick: bool) -> dict[str, Any]:
    """Milliseconds per label."""
    count, free = QUICK_COUNT if quick else COUNT, Free()
    with registry(None) as engine:
        ids = stored(engine, salts(count))
        level_id, round_id = level_for(engine, load_level(level), "free")
        select(engine, level_id, round_id, ids[:FIRST])
        drained(engine, free)
        select(engine, level_id, round_id, ids[FIRST:])
        seconds = drained(engine, free)
        states = labelled(engine, level_id)
    each = seconds / (count - FIRST)
    print(f"{each * 1e3:.1f} ms per label beside the engine (aim {AIM * 1e3:.0f}); {states}")
    return {"ms_per_label": round(each * 1e3, 2), "labels": count - FIRST, "states": states}
