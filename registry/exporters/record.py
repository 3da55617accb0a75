"""What every writer is given, and the names under which every format says it. No database in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.crystal import Crystal
from registry.properties import CrystalProperty
from registry.terms import SourceTerms

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
    terms: of its source, where that is another one than the crystal's
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
    terms: SourceTerms | None = None


@dataclass(frozen=True, eq=False)
class ExportedRecord:
    """One material. `public_id` is that of these arrays; `relaxed_from` the material's, where they are another's.

    properties: in the order in which they were stored
    fields: those of registry/query/fields.py but for the properties, for the format that has a column of each
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
    non_commercial: bool = False
    properties: Sequence[CrystalProperty] = ()
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
        "non_commercial": record.non_commercial or None,
        "metadata": dict(record.metadata) or None,
        "crystal_properties": [_property_facts(one) for one in record.properties] or None,
    }
    return _known(told | (_energy_facts(record.energy) if record.energy else {}))


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
        **_terms_facts(energy.terms, "energy_"),
    }


def _property_facts(one: CrystalProperty) -> dict[str, Any]:
    told = {
        "name": one.name,
        "words" if isinstance(one.value, str) else "value": one.value,
        "unit": one.unit,
        "method": one.method,
        "provenance": dict(one.provenance) or None,
        **_terms_facts(one.terms),
    }
    return _known(told)


def _terms_facts(terms: SourceTerms | None, of: str = "") -> dict[str, Any]:
    if terms is None:
        return {}
    return {
        f"{of}source": terms.name,
        f"{of}licence": terms.licence,
        f"{of}citation": terms.citation,
        f"{of}non_commercial": terms.non_commercial or None,
    }


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


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
