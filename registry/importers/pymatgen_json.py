"""pymatgen's JSON: structures, computed structure entries and the Materials Project's entries, alone or listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from registry.errors import BadRecord
from registry.importers.files import open_text
from registry.importers.own import is_ours, own_record
from registry.importers.record import PARSER_FAULTS, ImportedEnergy, ImportedRecord, Item, crystal_of, reason_of

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

LIST_KEYS = ("entries", "structures", "data")
"""Keys under which a wrapped list is looked for."""

PARAMETER_KEYS = ("hubbards", "potcars", "potcar_symbols", "potcar_spec", "oxide_type", "is_hubbard", "functional",
                  "adjustments", "energy_adjustments")  # fmt: skip
DATA_KEYS = ("oxide_type",)
ID_KEYS = ("entry_id", "material_id", "mp_id", "task_id")
SITE_KEYS = ("species", "abc")
METADATA_KEYS = ("tags", "mineral", "aflow", "strukturbericht", "pearson", "name")

CHUNK = 1 << 20
"""Characters read at a time."""

OPENING = re.compile(r"[\s\ufeff]*\[?[\s\]]*")
BETWEEN = re.compile(r"[\s,\]]*")


def records(path: Path) -> Iterator[Item]:
    with open_text(path) as file:
        try:
            for index, document in enumerate(_documents(file)):
                yield read_document(document, f"{path.name}:{index}", path.name)
        except json.JSONDecodeError as error:
            yield BadRecord(path.name, f"doesn't parse as JSON: {error}")


def read_document(document: Any, record: str, source: str) -> Item:
    """One decoded JSON object -> its record, or why there's none."""
    try:
        written = _structure(document)
        if written is None:
            raise BadRecord(record, "holds no structure (no lattice and sites)")
        crystal = crystal_of(_decoded(written), record)
        if is_ours(facts := _own_facts(document)):
            return own_record(facts, crystal, record)
        return ImportedRecord(
            crystal=crystal,
            record=record,
            source=source,
            external_ids=_external_ids(document),
            metadata={key: document[key] for key in METADATA_KEYS if document.get(key)},
            energy=_energy(document) if document.get("energy") is not None else None,
        )
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(record, f"doesn't parse as a pymatgen structure: {reason_of(error)}")


def _own_facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Our exports tell them in the `properties` of a structure, in the `data` of an entry."""
    told = document.get("data") if "energy" in document else document.get("properties")
    entry = {name: document[name] for name in ("energy", "correction", "parameters") if name in document}
    return {**told, **entry} if isinstance(told, dict) else {}


def _documents(file: TextIO) -> Iterator[Any]:
    """The items of one list, of a list under one of LIST_KEYS, or of objects one after the other (JSON lines)."""
    for value in _values(file):
        yield from _unwrapped(value)


def _unwrapped(value: Any) -> list[Any]:
    if not isinstance(value, dict) or _structure(value) is not None:
        return [value]
    lists = [value[key] for key in LIST_KEYS if isinstance(value.get(key), list)]
    return lists[0] if lists else [value]


def _values(file: TextIO) -> Iterator[Any]:
    """Decode the top-level values one by one, those of an outer list too, so that memory stays flat on a long list."""
    decoder = json.JSONDecoder()
    text = file.read(CHUNK)
    at = _past(OPENING, text, 0)
    while True:
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            if not (chunk := file.read(max(CHUNK, len(text)))):
                if at < len(text):
                    raise
                return
            text = text[at:] + chunk
            at = _past(BETWEEN, text, 0)
            continue
        yield value
        at = _past(BETWEEN, text, end)


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _decoded(written: dict[str, Any]) -> Structure:
    """From pymatgen's own form, or from a lattice matrix with `species` and `abc` side by side."""
    from pymatgen.core.structure import Structure

    if "sites" in written:  # without the sites' properties: for these pymatgen imports whatever module a file names
        sites = [{name: site[name] for name in SITE_KEYS if name in site} for site in written["sites"]]
        return Structure.from_dict({"lattice": written["lattice"], "sites": sites})
    return Structure(written["lattice"], written["species"], written["abc"])


def _structure(document: Any) -> dict[str, Any] | None:
    """The structure within an entry, a Materials Project document or an AFLOW prototype, or the document itself."""
    if not isinstance(document, dict):
        return None
    if "lattice" in document and ("sites" in document or "abc" in document):
        return document
    inner = document.get("structure") or document.get("snl")
    return inner if isinstance(inner, dict) else None


def _external_ids(document: Mapping[str, Any]) -> dict[str, str]:
    """mp-149 under "mp" ("mp-149-GGA+U" as well, with the whole under "entry"); any other id under "entry"."""
    written = next((str(document[key]) for key in ID_KEYS if document.get(key)), None)
    if written is None:
        return {}
    material = re.match(r"(mp|mvc)-\d+", written)
    if material is None:
        return {"entry": written}
    return {"mp": material[0]} | ({} if material[0] == written else {"entry": written})


def _energy(document: Mapping[str, Any]) -> ImportedEnergy:
    """Total energies as pymatgen's entries hold them: `energy` is uncorrected, in eV per cell."""
    parameters = dict(document.get("parameters") or {})
    data = document.get("data") or {}
    parameters |= {key: data[key] for key in DATA_KEYS if data.get(key) and key not in parameters}
    parameters |= {key: document[key] for key in PARAMETER_KEYS if document.get(key)}
    told = parameters.pop("run_type", None) or data.get("run_type")
    run_type = document.get("run_type") or told
    return ImportedEnergy(
        total=float(document["energy"]),
        correction=_correction(document),
        run_type=str(run_type) if run_type else None,
        parameters=parameters,
    )


def _correction(document: Mapping[str, Any]) -> float:
    if document.get("correction") is not None:
        return float(document["correction"])
    return sum(map(_adjustment, document.get("energy_adjustments") or []))


def _adjustment(written: Mapping[str, Any]) -> float:
    """eV per cell, of an adjustment as a whole or of one per atom."""
    if written.get("adj_per_atom") is not None:
        return float(written["adj_per_atom"]) * float(written["n_atoms"])
    return float(written.get("value") or 0.0)
