"""What every writer is given, and the names under which every format says it. No database in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.crystal import Crystal

Names = str | list[str]


@dataclass(frozen=True)
class ExportedEnergy:
    """A converged calculation at one level, and its place on the hull.

    of: public id of the structure that the energy belongs to; the one before a relaxation has another id
    total: eV per cell, raw
    correction: eV per cell, to be added; None where the level's scheme has none for this crystal
    off_hull: why this energy may not stand on a hull, or None
    formation_energy_per_atom, e_above_hull: eV/atom, None where it isn't placed; as of the moment `as_of`, or now
    parameters: what else describes the calculation; "run_type" as the source said it
    """

    level: str
    of: str
    total: float
    correction: float | None = None
    off_hull: str | None = None
    formation_energy_per_atom: float | None = None
    e_above_hull: float | None = None
    as_of: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ExportedRecord:
    """One material. `public_id` is that of these arrays; `relaxed_from` the material's, where they are another's.

    fields: those of registry/query/fields.py, for the format that has a column of each; {} for the others
    """

    crystal: Crystal
    public_id: str
    reduced_formula: str
    source: str
    licence: str
    citation: str
    external_ids: Mapping[str, Names] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    relaxed_from: str | None = None
    energy: ExportedEnergy | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def facts(record: ExportedRecord) -> dict[str, Any]:
    """Everything but the arrays, JSON-ready, under the same names in every format. What is unknown isn't there."""
    told = {
        "lode_id": record.public_id,
        "relaxed_from": record.relaxed_from,
        "external_ids": dict(record.external_ids) or None,
        "reduced_formula": record.reduced_formula,
        "source": record.source,
        "licence": record.licence,
        "citation": record.citation,
        "metadata": dict(record.metadata) or None,
    }
    told |= _energy_facts(record.energy) if record.energy else {}
    return {name: value for name, value in told.items() if value is not None}


def _energy_facts(energy: ExportedEnergy) -> dict[str, Any]:
    return {
        "level": energy.level,
        "energy": energy.total,
        "energy_of": energy.of,
        "correction": energy.correction,
        "off_hull": energy.off_hull,
        "formation_energy_per_atom": energy.formation_energy_per_atom,
        "e_above_hull": energy.e_above_hull,
        "as_of": energy.as_of,
        "parameters": dict(energy.parameters) or None,
    }


def as_json(value: object) -> str:
    """On one line, in ASCII."""
    return json.dumps(value, separators=(",", ":"))


def first_id(record: ExportedRecord, scheme: str) -> str | None:
    """The name that a scheme gave, the first of several."""
    names = record.external_ids.get(scheme)
    return names[0] if isinstance(names, list) else names


def material_id(record: ExportedRecord) -> str | None:
    """The id that tables of the Materials Project call by this name: mp-149, or another database's entry."""
    return first_id(record, "mp") or first_id(record, "entry")
