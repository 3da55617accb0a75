"""Crystals and records of every kind that a registry may hold, for Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from registry.crystal import Crystal
from registry.exporters.record import ExportedEnergy, ExportedRecord
from registry.identity.composition import Composition
from registry.identity.public_id import public_id
from registry.properties import CrystalProperty
from registry.terms import SourceTerms

PLACES = [(i / 3, j / 3, k / 3) for i in range(3) for j in range(3) for k in range(3)]


@st.composite
def crystals(draw: st.DrawFn) -> Crystal:
    """Up to five atoms well apart, anywhere around a cell that lies anyhow in space, left-handed ones included."""
    lengths = draw(st.lists(st.floats(4, 9), min_size=3, max_size=3))
    angles = draw(st.lists(st.floats(75, 105), min_size=3, max_size=3))
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rotation = np.linalg.qr(seed.normal(size=(3, 3)))[0]
    places = np.array(draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=5, unique=True)))
    shifts = seed.integers(-1, 2, places.shape) + seed.uniform(-0.02, 0.02, places.shape)
    numbers = draw(st.lists(st.integers(1, 94), min_size=len(places), max_size=len(places)))
    return Crystal(Lattice.from_parameters(*lengths, *angles).matrix @ rotation, np.array(numbers), places + shifts)


def formula(crystal: Crystal) -> str:
    return Composition.of(crystal.amounts).reduced_formula


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "00123",
        "1 2 3",
        "T",
        "nan",
        "_JSON {}",
        'say "no"',
        "it's # 5",
        "C:\\new",
        "a=b {c} [d]",
        "Müller, A.;\n;B",
        "; x",
    ]
)
notes = st.dictionaries(
    texts,
    st.recursive(texts | st.integers() | st.booleans() | st.none(), lambda one: st.lists(one, max_size=3)),
    max_size=3,
)
energies = st.floats(-500, 500)
terms = st.builds(SourceTerms, texts, texts, texts, st.booleans())
properties = st.lists(
    st.builds(CrystalProperty, texts, energies | texts, texts, texts, notes, st.none() | terms), max_size=2
)


@st.composite
def exported_energies(draw: st.DrawFn, of: str) -> ExportedEnergy:
    return ExportedEnergy(
        level=draw(texts),
        of=of,
        total=draw(energies),
        correction=draw(st.none() | energies),
        off_hull=draw(st.none() | texts),
        formation_energy_per_atom=draw(st.none() | energies),
        e_above_hull=draw(st.none() | st.floats(0, 9)),
        as_of=draw(st.none() | st.just("2026-01-01T00:00:00+00:00")),
        parameters=draw(notes),
        terms=draw(st.none() | terms),
    )


@st.composite
def exported_records(draw: st.DrawFn) -> ExportedRecord:
    crystal = draw(crystals())
    name = public_id(crystal)
    names: st.SearchStrategy[Any] = texts | st.lists(texts, min_size=2, max_size=3)
    return ExportedRecord(
        crystal=crystal,
        public_id=name,
        reduced_formula=formula(crystal),
        source=draw(texts),
        licence=draw(texts),
        citation=draw(texts),
        external_ids=draw(st.dictionaries(st.sampled_from(["mp", "entry", "icsd", "aflow"]), names, max_size=3)),
        metadata=draw(notes),
        properties=draw(properties),
        relaxed_from=draw(st.none() | st.just(f"lode-{name[:4:-1]}")),
        energy=draw(st.none() | exported_energies(name) | exported_energies("lode-bbbbbbbbbbbb")),
    )
