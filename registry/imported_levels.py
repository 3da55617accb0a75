"""At which level an imported energy lands, and whether it may stand on that level's hull.

Foreign energies have levels of their own; none enters a level whose energies are computed here. What is of another
functional than its level, or what the level's correction scheme refuses, is kept and stays off the hull.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch
from registry.hull.level_rows import ensure_level, name_functional, stored_level
from registry.hull.levels import AS_IMPORTED, IMPORTED, NO_SCHEME, Level, load_level, shipped_levels
from registry.hull.mp2020 import PBE, RUN_TYPES, SCHEME, Run, mp2020_correction
from registry.importers.record import ImportedEnergy, ImportedRecord
from registry.models import Level as LevelRow

FUNCTIONALS = {**dict.fromkeys(RUN_TYPES, PBE), "R2SCAN": "r2SCAN", "SCAN": "SCAN", "PBESOL": "PBEsol"}
UNTOLD = "how it was computed isn't told: no correction can be found for it"


def level_id_of(session: Session, name: str) -> int:
    """A level of imported energies, made where it is missing. Raises LevelMismatch for one that takes none."""
    known = session.scalar(sa.select(LevelRow.id).where(LevelRow.name == name))
    if known is not None:
        _refuse_closed(stored_level(session, known))
        return known
    if name in shipped_levels():
        _refuse_closed(load_level(name))
    note = "energies as imported; elemental references are the lowest imported elemental entries"
    return ensure_level(session, Level(name, IMPORTED, AS_IMPORTED, AS_IMPORTED, {}, {}, (), note))


def _refuse_closed(level: Level) -> None:
    if level.of_formation_energies:
        raise LevelMismatch(
            f"level '{level.name}' holds formation energies, elements at 0: total energies can't stand beside them; "
            "choose another --level for yours"
        )
    if level.kind == "potential":
        raise LevelMismatch(
            f"level '{level.name}' is that of the potential {level.engine}: foreign crystals enter it only relabelled "
            "by that potential; choose another --level for their energies, or import them without one"
        )
    if level.kind == "DFT":
        raise LevelMismatch(
            f"level '{level.name}' holds what {level.engine} computes here: choose another --level for imported "
            f"energies, then `lode level add-reference-set {level.name} --from THAT_LEVEL` where the two agree"
        )


class LevelDoor:
    """Judges the energies that come to one level; the first that tells its functional names the level's."""

    def __init__(self, session: Session, level_id: int) -> None:
        self._session = session
        self._level_id = level_id
        self._level = stored_level(session, level_id)

    def judged(self, record: ImportedRecord) -> ImportedRecord:
        """The record with the correction of the level's scheme, and with why it must stay off the hull."""
        energy = record.energy
        if energy is None:
            return record
        told = run_type_of(energy)
        self._name(functional_of(told) if told else None)
        corrected = self._corrected(record, energy, told)
        barred = corrected.off_hull or self._other_functional(told) or self._level.bars(record.crystal.amounts)
        return replace(record, energy=replace(corrected, off_hull=barred))

    def _name(self, functional: str | None) -> None:
        if functional is not None and self._level.functional == AS_IMPORTED:
            self._level = replace(self._level, functional=functional)
            name_functional(self._session, self._level_id, self._level)

    def _other_functional(self, told: str | None) -> str | None:
        if told is None or functional_of(told) == self._level.functional:
            return None
        return f"its run type {told} is of another functional than the level's, which is {self._level.functional}"

    def _corrected(self, record: ImportedRecord, energy: ImportedEnergy, told: str | None) -> ImportedEnergy:
        """MP2020 is asked wherever it could have been meant: for PBE runs at a level that hasn't another scheme.

        What our own export says has been judged before.
        """
        computes = self._level.correction_scheme == SCHEME
        if energy.judged or self._level.correction_scheme == NO_SCHEME:
            return energy
        if told is None or functional_of(told) != PBE:
            return replace(energy, correction=None, off_hull=energy.off_hull or UNTOLD) if computes else energy
        run = run_of(energy, told)
        if isinstance(run, str):
            return replace(energy, off_hull=energy.off_hull or run)
        found = mp2020_correction(record.crystal, energy.total, run)
        barred = energy.off_hull or found.reason
        return replace(energy, correction=found.energy if computes else energy.correction, off_hull=barred)


def functional_of(run_type: str) -> str:
    """GGA and GGA+U are PBE, as the Materials Project and pymatgen use the words; others are what they say."""
    return FUNCTIONALS.get(run_type.upper(), run_type)


def run_type_of(energy: ImportedEnergy) -> str | None:
    """As told; of U values without a run type, what pymatgen takes them for."""
    if energy.run_type is not None or "hubbards" not in energy.parameters:
        return energy.run_type
    return "GGA+U" if energy.parameters["hubbards"] else "GGA"


def run_of(energy: ImportedEnergy, run_type: str) -> Run | str:
    """How it was computed, or why that can't be known."""
    return run_from({**energy.parameters, "run_type": run_type})


def run_from(settings: Mapping[str, Any]) -> Run | str:
    """How an energy was computed by the settings of its calculation, or why that can't be known."""
    run_type = str(settings.get("run_type"))
    written = settings.get("hubbards") or {}
    try:
        hubbards = {str(element): float(value) for element, value in dict(written).items()}
    except (TypeError, ValueError):
        return f"its U values are no numbers: {written!r:.60}"
    if run_type.upper() in RUN_TYPES and RUN_TYPES[run_type.upper()] == "GGA+U" and not any(hubbards.values()):
        return f"its run type is {run_type}, but no U values are told"
    known = RUN_TYPES.get(run_type.upper(), run_type)
    oxide = settings.get("oxide_type")
    return Run(known, hubbards, _pseudopotentials(settings), oxide if isinstance(oxide, str) else None)


def _pseudopotentials(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """From potcar_symbols, potcars, or the titles of a potcar_spec."""
    for key in ("potcar_symbols", "potcars", "potcar_spec"):
        told = settings.get(key)
        if isinstance(told, list | tuple) and told:
            return tuple(str(one.get("titel")) if isinstance(one, dict) else str(one) for one in told)
    return ()
