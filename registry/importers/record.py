"""What every importer yields, and the checks at the door that all of them share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS
from registry.importers.overlap import CLOSEST, SHORTEST_PERIOD, overlap
from registry.properties import CrystalProperty
from registry.terms import SourceTerms

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

FLATTEST = 0.1
"""Cubic angstrom per atom. Below it the lattice vectors lie in a plane."""

EMPTIEST = 1000.0
"""Cubic angstrom per atom. Above it the cell is a box around a molecule, or its unit isn't angstrom."""

LONGEST = 3000.0
"""Angstrom. moyopy reduces cells in 32-bit integers: longer, slanted ones overflow them, and that ends the process."""

MOST_SLANTED = 1e4
"""Product of the lengths of the lattice vectors over the volume. Comparing crystals in such cells takes minutes."""

MOST_SITES = 32_767
"""What a smallint holds, the type of `nsites` and of the amounts of a composition."""

LARGEST = 1 << 24
"""Bytes of the text of one crystal; some 100,000 atoms. A gzip of a few kilobytes may unpack to any number."""

TOO_LARGE = f"the text of one crystal has more than {LARGEST} bytes"

LARGEST_ENERGY = 1e6
"""eV per cell; the CHECK of table `calculation`."""

LONGEST_ID = 500
"""Characters; the index over the ids holds no longer ones."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of surrogate pairs: JSON can write them, PostgreSQL's text can't hold them."""

PARSER_FAULTS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError, RuntimeError,
)  # fmt: skip
"""What the parsers of pymatgen and ase let escape on malformed text: ZeroDivisionError on a CIF cut short, IndexError
on a POSCAR cut short, KeyError, AttributeError and NotImplementedError on fields of a wrong kind, RecursionError on
deeply nested JSON."""


@dataclass(frozen=True)
class ImportedEnergy:
    """A total energy that came with a crystal.

    total: eV per cell, uncorrected
    correction: eV per cell, to be added; None where the scheme has none for this crystal: it is off the hull then
    run_type: "GGA", "GGA+U", "R2SCAN", ... as the source says, or None
    parameters: hubbards, potcars and whatever else describes the level of theory
    off_hull: why it may not stand on a hull, or None
    terms: of its source, where that is another one than the crystal's
    judged: whether a registry has said before that it may stand on a hull, or why not
    """

    total: float
    correction: float | None = 0.0
    run_type: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    off_hull: str | None = None
    terms: SourceTerms | None = None
    judged: bool = False


@dataclass(frozen=True, eq=False)
class ImportedRecord:
    """One crystal of a file, checked.

    record: "file:index", counted from 0 in the order of the file, bad records included
    source: where the file says that it comes from, or the name of the file
    external_ids: kind -> id, or several: {"mp": "mp-149"}
    metadata: what else the file says, JSON-ready; NaN and infinities are dropped
    terms: the row's own, where it has any
    properties: what the file says of the crystal beside its energy
    Raises BadRecord for ids and texts that no database holds.
    """

    crystal: Crystal
    record: str
    source: str
    external_ids: Mapping[str, str | list[str]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    energy: ImportedEnergy | None = None
    terms: SourceTerms | None = None
    properties: Sequence[CrystalProperty] = ()

    def __post_init__(self) -> None:
        names = [one for value in self.external_ids.values() for one in ([value] if isinstance(value, str) else value)]
        if long := [name for name in (*self.external_ids, *names) if len(name) > LONGEST_ID]:
            raise BadRecord(self.record, f"the id {long[0][:40]!r}... is longer than {LONGEST_ID} characters")
        object.__setattr__(self, "external_ids", _storable(self.external_ids, self.record))
        object.__setattr__(self, "metadata", _storable(self.metadata, self.record))
        if self.energy is not None:
            object.__setattr__(self, "energy", _storable_energy(self.energy, self.record))
        object.__setattr__(self, "properties", [_storable_property(one, self.record) for one in self.properties])
        _storable_terms(self.terms, self.record)


Item = ImportedRecord | BadRecord
"""A record, or the error (not raised) that says why there's none."""


def checked(crystal: Crystal, record: str) -> Crystal:
    """The crystal itself. Raise BadRecord if it's no crystal: NaN, flat or empty cell, unknown element, overlap."""
    if (complaint := _cell_complaint(crystal)) is not None:
        raise BadRecord(record, complaint)
    if unknown := [number for number in crystal.amounts if not 0 < number < len(SYMBOLS)]:
        raise BadRecord(record, f"no element has the atomic number {unknown[0]}")
    if (pair := overlap(crystal)) is not None:
        one, other, distance = pair
        raise BadRecord(
            record,
            f"overlapping atoms: {SYMBOLS[crystal.numbers[one]]} (site {one}) and {SYMBOLS[crystal.numbers[other]]} "
            f"(site {other}) are {distance:.2f} A apart, the least allowed is "
            f"{SHORTEST_PERIOD if one == other else CLOSEST} A",
        )
    return crystal


def bad_energy(record: ImportedRecord) -> BadRecord | None:
    """Why the energy of a record can't be kept, for those who keep it: NaN, infinite, or too large for any cell."""
    energy = record.energy or ImportedEnergy(0.0)
    for name, value in (("energy", energy.total), ("correction", energy.correction or 0.0)):
        if not abs(value) < LARGEST_ENERGY:
            reason = f"its {name} is {value:g} eV: give a finite one below {LARGEST_ENERGY:g} eV, or no --level"
            return BadRecord(record.record, reason)
    return None


def bad_property(record: ImportedRecord) -> BadRecord | None:
    """Why a property of a record can't be kept: not finite, in another unit than filters take it for, nonsense."""
    told = next(filter(None, (one.complaint() for one in record.properties)), None)
    return None if told is None else BadRecord(record.record, told)


def crystal_of(structure: Structure, record: str) -> Crystal:
    """From pymatgen, checked. Raise BadRecord, also for partial occupancy and species that are no element."""
    from pymatgen.core.periodic_table import DummySpecies

    for index, site in enumerate(structure):
        for species in site.species:
            if isinstance(species, DummySpecies):
                raise BadRecord(record, f"unknown element {species.symbol} (site {index})")
        if not site.is_ordered:
            raise BadRecord(record, f"partial occupancy: site {index} holds {site.species_string}; order it first")
    if len(structure) == 0:
        raise BadRecord(record, "no atoms")
    return checked(Crystal.from_pymatgen(structure), record)


def reason_of(error: BaseException) -> str:
    """One line of what a parser's exception says."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"{text} is missing"
    return text[:200] or type(error).__name__


def _cell_complaint(crystal: Crystal) -> str | None:
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        return "coordinates or lattice aren't finite numbers"
    if crystal.nsites > MOST_SITES:
        return f"{crystal.nsites} atoms in the cell, the most allowed are {MOST_SITES}"
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    if lengths.max() > LONGEST:
        return f"a lattice vector of {lengths.max():.4g} A, the longest allowed is {LONGEST:g} A"
    if not FLATTEST <= crystal.volume / crystal.nsites <= EMPTIEST:
        return (
            f"the cell of {crystal.nsites} atoms has a volume of {crystal.volume:.3g} A^3: "
            f"{FLATTEST:g} to {EMPTIEST:g} A^3 per atom are allowed"
        )
    if lengths.prod() > MOST_SLANTED * crystal.volume:
        return f"the cell is too slanted, its vectors are up to {lengths.max():.4g} A long: reduce it (Niggli) first"
    return None


def _storable_energy(energy: ImportedEnergy, record: str) -> ImportedEnergy:
    _storable_terms(energy.terms, record)
    parameters, run_type = _storable(energy.parameters, record), _storable(energy.run_type, record)
    return replace(energy, parameters=parameters, run_type=run_type)


def _storable_property(one: CrystalProperty, record: str) -> CrystalProperty:
    _storable([one.name, one.value, one.unit, one.method], record)
    _storable_terms(one.terms, record)
    return replace(one, provenance=_storable(one.provenance, record))


def _storable_terms(terms: SourceTerms | None, record: str) -> None:
    if terms is None:
        return
    _storable([terms.name, terms.licence, terms.citation], record)
    if len(terms.name) > LONGEST_ID:
        raise BadRecord(record, f"its source {terms.name[:40]!r}... is longer than {LONGEST_ID} characters")


def _storable(value: Any, record: str) -> Any:
    """JSON that PostgreSQL takes: no NaN, no infinity. Raise BadRecord for characters that it can't hold."""
    if isinstance(value, str) and UNSTORABLE.search(value):
        raise BadRecord(record, f"{value[:40]!r} holds NUL or half a character, which the database can't store")
    if isinstance(value, Mapping):
        return {_storable(key, record): _storable(one, record) for key, one in value.items() if _is_finite(one)}
    if isinstance(value, list | tuple):
        return [_storable(one, record) if _is_finite(one) else None for one in value]
    return value


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
