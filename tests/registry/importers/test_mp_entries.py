"""Entries of the Materials Project as they are handed out: what they say is kept, and their hull comes out again."""

from __future__ import annotations

import gzip
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import (
    CompositionEnergyAdjustment,
    ComputedStructureEntry,
    ConstantEnergyAdjustment,
)
from sqlalchemy.orm import Session

from registry import twins
from registry.hull.store import place
from registry.identity.duplicates import DuplicateIndex
from registry.importers.pymatgen_json import read_document
from registry.importers.record import ImportedRecord
from registry.imports import import_file
from registry.models import Calculation, ExternalId, HullState, Level
from registry.terms import SourceTerms

MP = SourceTerms("Materials Project", "CC-BY-4.0", "Jain et al., APL Materials 1, 011002 (2013)")
SALT = Structure(Lattice.cubic(4.0), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def read(document: dict[str, Any]) -> ImportedRecord:
    item = read_document(document, "r:0", "r")
    assert isinstance(item, ImportedRecord), item
    return item


def test_adjustments_add_up_where_no_correction_is_written():
    adjustments = [CompositionEnergyAdjustment(-0.614, 2, name="Cl"), ConstantEnergyAdjustment(-0.2)]
    document = ComputedStructureEntry(SALT, -7.0, energy_adjustments=adjustments).as_dict()
    written, left = read(document), read({key: value for key, value in document.items() if key != "correction"})
    assert written.energy is not None
    assert left.energy is not None
    assert written.energy.correction == left.energy.correction == pytest.approx(-1.428)


def test_the_run_type_of_todays_entries_lies_in_their_data():
    entry = ComputedStructureEntry(SALT, -7.0, entry_id="mp-22865-GGA", data={"run_type": "GGA"})
    found = read(entry.as_dict())
    assert found.energy is not None
    assert (found.energy.run_type, found.external_ids) == ("GGA", {"mp": "mp-22865", "entry": "mp-22865-GGA"})


def stored_by_entry(session: Session) -> dict[str, Any]:
    """Entry id -> its calculation, its place on the hull and its id in the Materials Project."""
    mp = sa.orm.aliased(ExternalId)
    query = (
        sa.select(
            ExternalId.value.label("entry"),
            mp.value.label("mp"),
            Calculation.energy,
            Calculation.correction,
            Calculation.settings,
            HullState.e_above_hull,
            HullState.formation_energy_per_atom,
        )
        .join(Calculation, Calculation.initial_structure_id == ExternalId.structure_id)
        .join(HullState, HullState.calculation_id == Calculation.id)
        .join(mp, sa.and_(mp.structure_id == ExternalId.structure_id, mp.scheme == "mp"))
        .where(ExternalId.scheme == "entry")
    )
    return {row.entry: row for row in session.execute(query)}


def test_the_hull_of_li_fe_p_o_comes_out_again(session: Session, lode_test_data: Path, monkeypatch: pytest.MonkeyPatch):
    """973 entries with their structures. Polymorphs aren't compared by the exact matcher: energies don't ask for it."""
    began = time.process_time()
    monkeypatch.setattr(twins, "DuplicateIndex", partial(DuplicateIndex, matcher_within=0.0))
    path = lode_test_data / "hulls" / "mp2024_Li-Fe-P-O.json.gz"
    documents = json.loads(gzip.decompress(path.read_bytes()))
    report = import_file(session, path, "mp-2024", MP, lambda _count: None)
    assert (report.read, report.refused) == (len(documents), [])
    place(session, session.scalars(sa.select(Level.id)).one())
    stored = stored_by_entry(session)
    assert stored.keys() == {document["entry_id"] for document in documents}
    for document in documents:
        row = stored[document["entry_id"]]
        assert (row.energy, row.correction) == (document["energy"], document["correction"])
        assert row.settings["run_type"] == document["run_type"]
        assert row.settings["potcars"] == document["potcars"]
        assert document["entry_id"] == f"{row.mp}-{document['run_type']}"
        assert row.e_above_hull == pytest.approx(document["e_above_hull"], abs=1e-6)
        assert row.formation_energy_per_atom == pytest.approx(document["e_form_per_atom"], abs=1e-6)
    assert time.process_time() - began < 30
