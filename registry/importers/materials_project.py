"""Entries of the Materials Project, with energies that share one hull, through its own client (extra `mp`).

The band gap of a material, which stands in another of its collections, comes along. By what functional it was computed
isn't told there.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import requests

from registry.errors import BadRecord, MissingExtra, ProviderError, SettingsError
from registry.identity.composition import SYMBOLS
from registry.importers.providers import Delivery, Query
from registry.importers.pymatgen_json import read_document
from registry.importers.record import PARSER_FAULTS, ImportedRecord, Item, reason_of
from registry.importers.web import FIRST_CONTACT, fetch, new_session
from registry.properties import BAND_GAP, CrystalProperty

ENDPOINT = "https://api.materialsproject.org"
"""Unless MP_API_ENDPOINT names another one."""

SOURCE = "Materials Project"
LICENCE = "CC-BY-4.0"
CITATION = "Jain et al., APL Materials 1, 011002 (2013), doi:10.1063/1.4812323; https://materialsproject.org"

THERMO_TYPE = "GGA_GGA+U"
"""PBE and PBE+U, mixed and corrected (MP2020). What the service mixes with r2SCAN has another scale in each chemical
system (issue 1104 of mp-api), and no level could hold it."""

FIELDS = ("material_id", "thermo_type", "entries", "builder_meta")
SUMMARY_FIELDS = ("material_id", "band_gap", "is_gap_direct")

MOST_ELEMENTS = 9
"""The client asks for all subsystems in one URL, and longer ones are refused."""


def open_provider(query: Query) -> Delivery:
    """Fetch the entries of a chemical system and all within it.

    Raises SettingsError for a query that it can't take and for a missing key, MissingExtra, ProviderError.
    """
    if query.address or query.filter or query.energy:
        raise SettingsError("--provider mp takes no URL, --filter or --energy: say --chemsys Li-Fe-O")
    documents, summaries, version = _documents(_systems(query.chemsys))
    known = {str(one.get("material_id")): one for one in summaries if isinstance(one, dict)}
    return Delivery(
        source=f"{SOURCE} (non-commercial)" if query.non_commercial else SOURCE,
        items=(item for document in documents for item in read_thermo(document, version, query.non_commercial, known)),
        licence="CC-BY-NC-4.0" if query.non_commercial else LICENCE,
        citation=CITATION,
        non_commercial=query.non_commercial,
    )


def _systems(chemsys: str) -> list[str]:
    """Li-O -> Li, O, Li-O."""
    elements = sorted(set(chemsys.split("-"))) if chemsys else []
    if unknown := [symbol for symbol in elements if symbol not in SYMBOLS[1:]]:
        raise SettingsError(f"--chemsys {chemsys}: {unknown[0]!r} is no element; write it as Li-Fe-O")
    if not 0 < len(elements) <= MOST_ELEMENTS:
        raise SettingsError(f"--provider mp needs --chemsys with 1 to {MOST_ELEMENTS} elements, such as Li-Fe-O")
    sizes = range(1, len(elements) + 1)
    return ["-".join(system) for size in sizes for system in combinations(elements, size)]


def _documents(systems: list[str]) -> tuple[list[Any], list[Any], str]:
    """Thermo documents and summaries as plain JSON, and the version of the database that gave them.

    The client's `get_entries_in_chemsys` asks the same, but fails as a whole on one bad document, and builds a
    validator for each entry.
    """
    try:
        from mp_api.client import MPRester
        from mp_api.client.core.exceptions import MPRestError
    except ImportError as error:
        raise MissingExtra("mp-api", "mp") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key, endpoint = _key(), os.environ.get("MP_API_ENDPOINT") or ENDPOINT
        # The client asks for the heartbeat too, but waits for it without end.
        version = str(fetch(new_session(), endpoint.rstrip("/") + "/heartbeat", FIRST_CONTACT).get("db_version"))
        try:
            with MPRester(key, endpoint=endpoint, mute_progress_bars=True, use_document_model=False) as rester:
                found = rester.materials.thermo.search(
                    chemsys=systems, thermo_types=[THERMO_TYPE], all_fields=False, fields=list(FIELDS)
                )
                summaries = rester.materials.summary.search(
                    chemsys=systems, all_fields=False, fields=list(SUMMARY_FIELDS)
                )
        except (MPRestError, requests.RequestException, *PARSER_FAULTS) as error:
            told = re.sub(r" on URL \S+", "", str(error)) if isinstance(error, MPRestError) else reason_of(error)
            raise ProviderError(f"the Materials Project: {' '.join(told.split())[:200]}") from error
    if not found:
        raise ProviderError(f"the Materials Project has no entries of {systems[-1]}")
    return list(found), list(summaries), version


def _key() -> str:
    """From MP_API_KEY, or from pymatgen's settings. Raises SettingsError where none can be one."""
    from mp_api.client.core.exceptions import MPRestError
    from mp_api.client.core.utils import validate_api_key

    told = "get a key at https://materialsproject.org/api and put it into the environment variable MP_API_KEY"
    try:
        key: str | None = validate_api_key()
    except MPRestError as error:
        raise SettingsError(f"the key of the Materials Project has 32 characters, this one hasn't: {told}") from error
    if not key:
        raise SettingsError(f"the Materials Project wants a key: {told}")
    return key


def read_thermo(
    document: Any, version: str, non_commercial: bool, summaries: Mapping[str, Mapping[str, Any]]
) -> Iterator[Item]:
    """The entries of one material, one a run type. CC BY-NC ones (GNoME's) come in only where all is taken so.

    summaries: material_id -> its document in that collection
    """
    material = document.get("material_id") if isinstance(document, dict) else None
    record = f"mp:{material}"
    entries = document.get("entries") if material else None
    made = document.get("builder_meta") if material else None
    if not isinstance(entries, dict) or not entries:
        yield BadRecord(record, "a document without material_id and entries")
    elif not non_commercial and isinstance(made, dict) and made.get("license") == "BY-NC":
        yield BadRecord(record, "its licence is CC BY-NC: --non-commercial brings it in, and the rest on its terms")
    else:
        for run_type, entry in entries.items():
            item = read_document(entry, f"{record}:{run_type}", SOURCE)
            summary = summaries.get(str(material), {})
            yield _completed(item, str(material), version, summary) if isinstance(item, ImportedRecord) else item


def _completed(item: ImportedRecord, material: str, version: str, summary: Mapping[str, Any]) -> Item:
    """With what isn't said in the entry itself."""
    known = {"mp_database_version": version}
    try:
        return replace(
            item,
            external_ids={**item.external_ids, "mp": material},
            metadata={**item.metadata, **known},
            properties=_properties(summary, known),
        )
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(item.record, reason_of(error))


def _properties(summary: Mapping[str, Any], known: Mapping[str, Any]) -> list[CrystalProperty]:
    """The band gap in eV, and whether it is direct where it is one. Raise ValueError for what is no number."""
    gap, direct = summary.get("band_gap"), summary.get("is_gap_direct")
    if gap is None:
        return []
    if not isinstance(gap, int | float) or isinstance(gap, bool):
        raise ValueError(f"its band_gap is no number, but {gap!r:.40}")
    told = {"is_gap_direct": direct} if gap > 0 and isinstance(direct, bool) else {}
    return [CrystalProperty(BAND_GAP, float(gap), "eV", SOURCE, {**known, **told})]
