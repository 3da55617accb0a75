"""Rows of our own exports, in whatever format: what registry/exporters/record.py wrote comes back as it was.

They are known by their `lode_id`, the id of the arrays, which is derived from these and so is no foreign name. An
energy is taken for that of the crystal only where it is: the energy of a relaxed crystal beside the unrelaxed arrays
(`energy_of` is another id then) stays behind. So do the properties of a crystal beside the arrays that it relaxed to
(`relaxed_from` is its id then).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.public_id import public_id
from registry.importers.record import ImportedEnergy, ImportedRecord
from registry.properties import CrystalProperty
from registry.terms import UNTOLD, SourceTerms

Facts = Mapping[str, Any]


def is_ours(facts: Facts) -> bool:
    """Whether a row comes from an export of ours."""
    return str(facts.get("lode_id", "")).startswith("lode-") and isinstance(facts.get("source"), str)


def own_record(facts: Facts, crystal: Crystal, record: str) -> ImportedRecord:
    """The record of a row. Raise BadRecord, ValueError or TypeError for facts of a wrong kind, or of other arrays."""
    if public_id(crystal) != facts["lode_id"]:
        raise BadRecord(
            record,
            f"its arrays aren't those of {facts['lode_id']} (any more), whose energy and names it "
            "carries: take `lode_id` out to have it come in as a crystal of its own",
        )
    return ImportedRecord(
        crystal=crystal,
        record=record,
        source=facts["source"],
        external_ids={str(scheme): _names(names) for scheme, names in dict(facts.get("external_ids") or {}).items()},
        metadata=dict(facts.get("metadata") or {}),
        energy=_energy(facts),
        terms=_terms(facts),
        properties=_properties(facts),
    )


def _terms(facts: Facts, of: str = "") -> SourceTerms | None:
    """Those that stand under names that begin with `of`; None where none do."""
    if facts.get(f"{of}source") is None:
        return None
    return SourceTerms(
        name=str(facts[f"{of}source"]),
        licence=str(facts.get(f"{of}licence") or UNTOLD.licence),
        citation=str(facts.get(f"{of}citation") or ""),
        non_commercial=bool(facts.get(f"{of}non_commercial")),
    )


def _properties(facts: Facts) -> list[CrystalProperty]:
    return [] if facts.get("relaxed_from") else [_property(one) for one in facts.get("crystal_properties") or ()]


def _property(told: Facts) -> CrystalProperty:
    number = told.get("value")
    return CrystalProperty(
        name=str(told["name"]),
        value=str(told["words"]) if number is None else float(number),
        unit=str(told["unit"]),
        method=str(told["method"]),
        provenance=dict(told.get("provenance") or {}),
        terms=_terms(told),
    )


def _names(names: Any) -> str | list[str]:
    return [str(one) for one in names] if isinstance(names, list | tuple) else str(names)


def _energy(facts: Facts) -> ImportedEnergy | None:
    if facts.get("energy") is None or facts.get("energy_of") != facts["lode_id"]:
        return None
    parameters = dict(facts.get("parameters") or {})
    run_type = parameters.pop("run_type", None)
    correction = facts.get("correction")
    return ImportedEnergy(
        total=float(facts["energy"]),
        correction=None if correction is None else float(correction),
        run_type=None if run_type is None else str(run_type),
        parameters=parameters,
        off_hull=facts.get("off_hull"),
        terms=_terms(facts, "energy_"),
        judged=True,
    )
