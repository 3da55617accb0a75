"""Structures of any OPTIMADE server, page by page. https://specification.optimade.org"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import quote, urljoin, urlsplit

import numpy as np
import requests
from optimade.models import Species
from optimade.models.structures import Vector3D
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from registry.errors import BadRecord, FilterError, ProviderError, SettingsError
from registry.importers import lode_server
from registry.importers.providers import Delivery, Query
from registry.importers.record import (
    PARSER_FAULTS,
    UNSTORABLE,
    ImportedEnergy,
    ImportedRecord,
    Item,
    crystal_of,
    reason_of,
)
from registry.importers.web import FIRST_CONTACT, Patience, fetch, new_session
from registry.properties import BAND_GAP, CrystalProperty
from registry.terms import UNTOLD, forbids_commerce

REQUIRED = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
DESCRIBING = ("species", "nsites", "dimension_types", "nperiodic_dimensions", "structure_features")
DATING = ("immutable_id", "last_modified")

PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")
VERSION = re.compile(r"/(v\d+(\.\d+)*)?(/structures)?/*$")
UNTOLD_SITES = {"implicit_atoms": "atoms without a site", "site_attachments": "atoms attached to a site without one of "
                "their own", "assemblies": "sites that are occupied together or not at all"}  # fmt: skip

LONGEST_TEXT = 1000
"""Characters of a provider's field. Longer ones are files, and no notes on a crystal."""

NO_UNITS: Mapping[str, str] = MappingProxyType({})

LONGEST_DELAY = 5.0
"""Seconds between two pages, whatever `request_delay` says."""


class Cell(BaseModel):
    """The properties that make a crystal, as OPTIMADE defines them; the others may be wrong without harm."""

    lattice_vectors: Annotated[list[Vector3D], Field(min_length=3, max_length=3)]
    cartesian_site_positions: list[Vector3D]
    species_at_sites: list[str]
    species: list[Species] | None = None


FRACTIONAL = TypeAdapter(list[Vector3D])


@dataclass(frozen=True)
class Server:
    """base: the versioned base URL; prefix: the kind of its ids; licences: one of them may be chosen"""

    base: str
    name: str
    prefix: str
    licences: tuple[str, ...]
    citation: str

    @property
    def gap_fields(self) -> tuple[str, ...]:
        """What a field of its own with the band gap would be called."""
        return (f"_{self.prefix}_band_gap", f"_{self.prefix}_bandgap")

    @property
    def is_ours(self) -> bool:
        """Whether it tells of each crystal what registry/importers/lode_server.py reads."""
        return self.prefix == lode_server.PREFIX


def open_provider(query: Query, patience: Patience | None = None) -> Delivery:
    """Say hello to a server. Its structures are asked for as `items` is read.

    Raises SettingsError, FilterError for what can't be asked, ProviderError where no OPTIMADE server answers.
    """
    base = _base(query)
    _refuse_filter(query.filter)
    session = new_session()
    server = _server(session, base, patience or FIRST_CONTACT)
    url = f"{base}/structures{_parameters(session, server, query, patience or FIRST_CONTACT)}"
    items = _items(session, server, url, query.energy, patience or Patience())
    if server.is_ours:  # every crystal comes on terms of its own, that the server's would contradict
        return Delivery(UNTOLD.name, items, non_commercial=query.non_commercial)
    return Delivery(
        source=server.name,
        items=items,
        licence=" or ".join(server.licences),
        citation=server.citation,
        non_commercial=query.non_commercial or all(map(forbids_commerce, server.licences)),
    )


def _base(query: Query) -> str:
    """The versioned base URL; the address may be the unversioned one as well, or that of the structures."""
    if query.chemsys:
        raise SettingsError('--chemsys is for --provider mp: here say --filter \'elements HAS ONLY "Li","O"\'')
    if query.energies != bool(query.energy):
        raise SettingsError("OPTIMADE defines no energy: give --level together with --energy, the server's own field")
    try:
        parts = urlsplit(query.address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"{query.address!r} isn't the base URL of a server: give --provider optimade:https://HOST")
    return VERSION.sub("", f"{parts.scheme}://{parts.netloc}{parts.path}/") + "/v1"


def _refuse_filter(written: str) -> None:
    from optimade.exceptions import BadRequest
    from optimade.filterparser import LarkParser

    if not written:
        return
    try:
        LarkParser().parse(written)
    except BadRequest as error:
        told = str(error).rpartition("Lark traceback:")[2] or str(error)
        raise FilterError(f"OPTIMADE can't read the filter {written!r}: {' '.join(told.split())[:150]}") from error


def _server(session: requests.Session, base: str, patience: Patience) -> Server:
    answer = fetch(session, f"{base}/info", patience)
    meta, info = _mapping(answer, "meta"), _mapping(_mapping(answer, "data"), "attributes")
    if "api_version" not in meta:
        raise ProviderError(f"{base}/info: this is JSON, but no OPTIMADE server's")
    if info.get("is_index"):
        raise ProviderError(f"{base}: an index of databases, and no database: give the URL of one of its /links")
    provider = _mapping(meta, "provider")
    name = _line(provider.get("name")) or urlsplit(base).netloc
    prefix = provider.get("prefix")
    return Server(
        base=base,
        name=name,
        prefix=prefix if isinstance(prefix, str) and PREFIX.fullmatch(prefix) else "optimade",
        licences=_licences(info),
        citation=f"{name}, {_link(provider.get('homepage')) or base}",
    )


def _licences(info: Mapping[str, Any]) -> tuple[str, ...]:
    """The SPDX ids between which a client may choose, or the page that tells the licence."""
    for field in ("available_licenses", "available_licenses_for_entries"):
        if isinstance(ids := info.get(field), list) and any(told := tuple(map(_line, ids))):
            return tuple(filter(None, told))
    return (_link(info.get("license")) or "unknown",)


def _parameters(session: requests.Session, server: Server, query: Query, patience: Patience) -> str:
    """Servers send what they like unless they are asked; a field with energies has to be asked for, and all else then.

    Raises SettingsError for a field that the server hasn't.
    """
    parameters = {"filter": query.filter} if query.filter else {}
    if query.energy:
        answer = fetch(session, f"{server.base}/info/structures", patience)
        own = sorted(name for name in _mapping(_mapping(answer, "data"), "properties") if name.startswith("_"))
        if query.energy not in own:
            raise SettingsError(f"{server.name} has no field {query.energy}; it has {', '.join(own) or 'none'}")
        parameters["response_fields"] = ",".join((*REQUIRED, *DESCRIBING, *DATING, *own))
    return "?" + "&".join(f"{key}={quote(value)}" for key, value in parameters.items()) if parameters else ""


def _items(session: requests.Session, server: Server, url: str, energy: str, patience: Patience) -> Iterator[Item]:
    host, count = urlsplit(url).netloc, 0
    units: dict[str, str] | None = None
    try:
        for page in _pages(session, url, patience):
            if units is None and any(_tells_a_gap(entry, server) for entry in page):
                units = _units(session, server)
            for entry in page:
                yield read_entry(entry, f"{host}:{count}", server, energy, units or {})
                count += 1
    except ProviderError as error:
        rest = f"; the {count} records before stay, and the same command brings the rest" if count else ""
        yield BadRecord(host, f"{error}{rest}")
        return
    finally:
        session.close()
    if count == 0:
        yield BadRecord(host, "has no such structures")


def _pages(session: requests.Session, url: str, patience: Patience) -> Iterator[list[Any]]:
    """One page after the other. Raises ProviderError for a page that is none, and for a server that goes in circles."""
    seen: set[str] = set()
    before: list[Any] | None = None
    while True:
        seen.add(url)
        answer = fetch(session, url, patience)
        page = answer.get("data")
        if not isinstance(page, list):
            raise ProviderError(f"{url}: this is JSON, but no page of OPTIMADE structures")
        if page == before:
            raise ProviderError(f"{url}: the same page twice")
        yield page
        before, meta = page, _mapping(answer, "meta")
        following = _link(_mapping(answer, "links").get("next"))
        if not following and meta.get("more_data_available") is True:
            raise ProviderError(f"{url}: says that there is more, but not where")
        if not following:
            return
        url = _next(url, following, seen)
        time.sleep(_delay(meta))


def _next(url: str, following: str, seen: set[str]) -> str:
    try:
        url = urljoin(url, following)
    except ValueError as error:
        raise ProviderError(f"{url}: the link to the next page is no URL: {following!r:.80}") from error
    if url in seen:
        raise ProviderError(f"{url}: linked as the next page, but read before")
    return url


def _tells_a_gap(entry: Any, server: Server) -> bool:
    attributes = _mapping(entry, "attributes") if isinstance(entry, dict) else {}
    return any(attributes.get(field) is not None for field in server.gap_fields)


def _units(session: requests.Session, server: Server) -> dict[str, str]:
    """Of its fields, as far as it documents them. A server that doesn't answer has documented none."""
    try:
        answer = fetch(session, f"{server.base}/info/structures", FIRST_CONTACT)
    except ProviderError:
        return {}
    documented = _mapping(_mapping(answer, "data"), "properties")
    told = {name: _mapping(documented, name) for name in documented}
    return {name: _line(one.get("unit") or one.get("x-optimade-unit")) for name, one in told.items()}


def read_entry(entry: Any, record: str, server: Server, energy: str = "", units: Mapping[str, str] = NO_UNITS) -> Item:
    """One entry of a page -> its record, or why there's none. units: field -> its unit, where it's documented"""
    identity = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(identity, str | int) or identity == "":
        return BadRecord(record, "an entry without an id")
    record = f"{urlsplit(server.base).netloc}:{UNSTORABLE.sub('?', str(identity))[:100]}"
    try:
        attributes = _mapping(entry, "attributes")
        _refuse_other_than_crystals(attributes, record)
        return ImportedRecord(
            crystal=crystal_of(_structure(attributes, record), record),
            record=record,
            source=server.name,
            external_ids=lode_server.names_of(attributes) if server.is_ours else {server.prefix: str(identity)},
            metadata=_metadata(attributes),
            energy=_energy(attributes, energy, record),
            terms=lode_server.terms_of(attributes) if server.is_ours else None,
            properties=_properties(attributes, server, units, record),
        )
    except BadRecord as error:
        return error
    except ValidationError as error:
        first = error.errors()[0]
        return BadRecord(record, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200])
    except PARSER_FAULTS as error:
        return BadRecord(record, reason_of(error))


def _refuse_other_than_crystals(attributes: Mapping[str, Any], record: str) -> None:
    """Before the arrays are looked at: a slab may lack a lattice vector, and that isn't the reason to tell."""
    if missing := [name for name in REQUIRED if not attributes.get(name)]:
        raise BadRecord(record, f"lacks {', '.join(missing)}")
    periodic = attributes.get("dimension_types")
    if periodic not in (None, [1, 1, 1]) or attributes.get("nperiodic_dimensions") not in (None, 3):
        raise BadRecord(record, "not periodic in three directions")
    for feature in attributes.get("structure_features") or ():
        if feature in UNTOLD_SITES:
            raise BadRecord(record, f"{UNTOLD_SITES[feature]} ({feature})")


def _structure(attributes: Mapping[str, Any], record: str) -> Any:
    """pymatgen's structure, with what the species say of each site; a vacancy is a part that isn't occupied."""
    from pymatgen.core.structure import Structure

    cell = Cell.model_validate({name: attributes.get(name) for name in Cell.model_fields})
    sites = len(cell.cartesian_site_positions)
    if {sites, len(cell.species_at_sites), attributes.get("nsites") or sites} != {sites}:
        told = f"nsites is {attributes.get('nsites')}, with {len(cell.species_at_sites)} species and {sites} positions"
        raise BadRecord(record, f"missing sites: {told}")
    parts = {one.name: _occupation(one) for one in cell.species or ()}
    if unknown := [name for name in cell.species_at_sites if cell.species and name not in parts]:
        raise BadRecord(record, f"a site holds {unknown[0]!r}, which `species` doesn't describe")
    species = [parts.get(name, name) for name in cell.species_at_sites]
    if attributes.get(lode_server.POSITIONS):
        return Structure(cell.lattice_vectors, species, _exact(attributes, cell, record))
    return Structure(cell.lattice_vectors, species, cell.cartesian_site_positions, coords_are_cartesian=True)


def _exact(attributes: Mapping[str, Any], cell: Cell, record: str) -> list[Vector3D]:
    """The fractional positions, digit for digit. Raises BadRecord where the Cartesian ones are others."""
    told = FRACTIONAL.validate_python(attributes[lode_server.POSITIONS])
    if len(told) != len(cell.cartesian_site_positions) or not np.allclose(
        np.array(told) @ np.array(cell.lattice_vectors), cell.cartesian_site_positions, atol=1e-6
    ):
        raise BadRecord(record, f"{lode_server.POSITIONS} are others than cartesian_site_positions")
    return told


def _occupation(species: Any) -> dict[str, float]:
    parts: dict[str, float] = {}
    for symbol, concentration in zip(species.chemical_symbols, species.concentration, strict=True):
        if symbol != "vacancy":
            parts[symbol] = parts.get(symbol, 0.0) + concentration
    return parts


def _metadata(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in attributes.items() if key.startswith("_") or key in DATING}
    return {key: value for key, value in kept.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT)


def _energy(attributes: Mapping[str, Any], field: str, record: str) -> ImportedEnergy | None:
    value = attributes.get(field) if field else None
    if value is None:
        return None
    return ImportedEnergy(_number(value, field, record), parameters={"field": field})


def _properties(
    attributes: Mapping[str, Any], server: Server, units: Mapping[str, str], record: str
) -> list[CrystalProperty]:
    """The band gap where the server has a field of its own for it, in eV. What the field is called is all it tells."""
    field = next((one for one in server.gap_fields if attributes.get(one) is not None), "")
    if units.get(field) != "eV":
        return []
    return [CrystalProperty(BAND_GAP, _number(attributes[field], field, record), "eV", field)]


def _number(value: Any, field: str, record: str) -> float:
    if not isinstance(value, int | float):
        raise BadRecord(record, f"{field} is no number, but {value!r:.40}")
    return float(value)


def _mapping(outer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, dict) else {}


def _link(written: Any) -> str:
    """The URL of a JSON:API link, which is a text or an object."""
    return _line(written.get("href") if isinstance(written, dict) else written)


def _line(written: Any) -> str:
    return " ".join(UNSTORABLE.sub("", written).split())[:LONGEST_TEXT] if isinstance(written, str) else ""


def _delay(meta: Mapping[str, Any]) -> float:
    asked = meta.get("request_delay")
    return min(max(float(asked), 0.0), LONGEST_DELAY) if isinstance(asked, int | float) else 0.0
