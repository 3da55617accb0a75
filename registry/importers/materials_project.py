"""Entries of the Materials Project, with energies that share one hull, through its own client (extra `mp`)."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import requests

from registry.errors import BadRecord, MissingExtra, ProviderError, SettingsError
from registry.identity.composition import SYMBOLS
from registry.importers.providers import Delivery, Query
from registry.importers.pymatgen_json import read_document
from registry.importers.record import PARSER_FAULTS, ImportedRecord, Item, reason_of
from registry.importers.web import FIRST_CONTACT, fetch

ENDPOINT = "https://api.materialsproject.org"
"""Unless MP_API_ENDPOINT names another one."""

SOURCE = "Materials Project"
LICENCE = "CC-BY-4.0"
CITATION = "Jain et al., APL Materials 1, 011002 (2013), doi:10.1063/1.4812323; https://materialsproject.org"

THERMO_TYPE = "GGA_GGA+U"
"""PBE and PBE+U, mixed and corrected (MP2020). What the service mixes with r2SCAN has another scale in each chemical
system (issue 1104 of mp-api), and no level could hold it."""

MOST_ELEMENTS = 9
"""The client asks for all subsystems in one URL, and longer ones are refused."""


def open_provider(query: Query) -> Delivery:
    """Fetch the entries of a chemical system and all within it.

    Raises SettingsError for a query that it can't take and for a missing key, MissingExtra, ProviderError.
    """
    if query.address or query.filter or query.energy:
        raise SettingsError("--provider mp takes no URL, --filter or --energy: say --chemsys Li-Fe-O")
    entries, version = _entries(_elements(query.chemsys))
    return Delivery(
        source=f"{SOURCE} (non-commercial)" if query.non_commercial else SOURCE,
        items=(_read(entry, version, query.non_commercial) for entry in entries),
        licence="CC-BY-NC-4.0" if query.non_commercial else LICENCE,
        citation=CITATION,
        non_commercial=query.non_commercial,
    )


def _elements(chemsys: str) -> list[str]:
    elements = sorted(set(chemsys.split("-"))) if chemsys else []
    if unknown := [symbol for symbol in elements if symbol not in SYMBOLS[1:]]:
        raise SettingsError(f"--chemsys {chemsys}: {unknown[0]!r} is no element; write it as Li-Fe-O")
    if not 0 < len(elements) <= MOST_ELEMENTS:
        raise SettingsError(f"--provider mp needs --chemsys with 1 to {MOST_ELEMENTS} elements, such as Li-Fe-O")
    return elements


def _entries(elements: list[str]) -> tuple[list[Any], str]:
    """ComputedStructureEntries, sorted by id, and the version of the database that gave them."""
    try:
        from mp_api.client import MPRester
        from mp_api.client.core.exceptions import MPRestError
    except ImportError as error:
        raise MissingExtra("mp-api", "mp") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key, endpoint = _key(), os.environ.get("MP_API_ENDPOINT") or ENDPOINT
        # The client asks for the heartbeat too, but waits for it without end.
        version = str(fetch(requests.Session(), endpoint.rstrip("/") + "/heartbeat", FIRST_CONTACT).get("db_version"))
        try:
            with MPRester(key, endpoint=endpoint, mute_progress_bars=True) as rester:
                entries = rester.get_entries_in_chemsys(
                    elements,
                    additional_criteria={"thermo_types": [THERMO_TYPE]},
                    property_data=["material_id", "builder_meta"],
                )
        except (MPRestError, requests.RequestException, *PARSER_FAULTS) as error:
            raise ProviderError(f"the Materials Project: {reason_of(error)}") from error
    if not entries:
        raise ProviderError(f"the Materials Project has no entries of {'-'.join(elements)}")
    return sorted(entries, key=lambda entry: str(entry.entry_id)), version


def _key() -> str:
    """From MP_API_KEY, or from pymatgen's settings. Raises SettingsError where there's none, or none that can be one."""
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


def _read(entry: Any, version: str, non_commercial: bool) -> Item:
    """One entry -> its record. Some are CC BY-NC (GNoME's): they come in only where all shall be taken so."""
    record = f"mp:{entry.entry_id}"
    if not non_commercial and getattr(entry.data.get("builder_meta"), "license", None) == "BY-NC":
        return BadRecord(record, "its licence is CC BY-NC: --non-commercial brings it in, and the rest on its terms")
    item = read_document(entry.as_dict(), record, SOURCE)
    if not isinstance(item, ImportedRecord):
        return item
    return replace(
        item,
        external_ids={**item.external_ids, "mp": str(entry.data["material_id"])},
        metadata={**item.metadata, "mp_database_version": version},
    )
