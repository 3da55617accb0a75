"""GNoME's released table (stable_materials_summary.csv), with the CIFs of its rows in an archive or a folder.

What its columns hold is taken from the release's DATASET.md of 2024-11-21 and from the outputs of its notebooks:
- energies are totals of the row's cell, before and after MP2020 corrections; "Density" is documented as A^3/atom, and
  the numbers are g/cm^3;
- archives name their CIFs by MaterialId, reduced formula or composition; those by id were misnamed in early releases;
- some CIFs have overlapping atoms, and energies that are off by some 10 eV/atom.
"""

from __future__ import annotations

import ast
import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS, Composition
from registry.importers.archive import CifShelf, opened
from registry.importers.cif import read_block
from registry.importers.files import open_text
from registry.importers.record import PARSER_FAULTS, ImportedEnergy, ImportedRecord, Item, reason_of
from registry.properties import BAND_GAP, DIMENSIONALITY, CrystalProperty

SOURCE = "GNoME"
LICENCE = "CC BY-NC 4.0"
CITATION = "Merchant et al., Nature 624, 80 (2023)"

MP_SHIFTS = {"Ga": -0.0028805, "Ge": 0.10417085, "Li": -0.00301278, "Mg": 0.0924014, "Na": -0.00447437}
"""eV per atom of the element, to be added to energies of the Materials Project that shall stand beside GNoME's: these
were computed with newer pseudopotentials of these elements."""

UNPHYSICAL = 5.0
"""eV/atom. The firmest compounds, fluorides of the rare earths, have formation energies of about -4.6."""

SAME_ENERGY = 1e-4
"""eV/atom. The table has four digits."""

SAME_VOLUME = 0.05
"""Relative. Table and CIF tell of one relaxed crystal, so that only rounding sets them apart."""

REQUIRED = ("MaterialId", "Composition", "NSites", "UnCorrected Energy", "Corrected Energy")

ENERGIES = {
    "Formation Energy Per Atom": "formation_energy_ev_per_atom",
    "Decomposition Energy Per Atom": "decomposition_energy_ev_per_atom",
    "Decomposition Energy Per Atom All": "decomposition_energy_all_ev_per_atom",
    "Decomposition Energy Per Atom Relative": "decomposition_energy_relative_ev_per_atom",
    "Decomposition Energy Per Atom MP": "decomposition_energy_mp_ev_per_atom",
    "Decomposition Energy Per Atom MP OQMD": "decomposition_energy_mp_oqmd_ev_per_atom",
}
"""Column -> name in the metadata. Without a word behind it: against MP's hull as downloaded; "All": against the hull
with the entry; "Relative": against all other entries; "MP", "MP OQMD": against these with their recalculations."""

NUMBERS = ENERGIES | {"Density": "density_g_per_cm3"}
TEXTS = {
    "Space Group": "space_group",
    "Space Group Number": "space_group_number",
    "Point Group": "point_group",
    "Crystal System": "crystal_system",
    "Is Train": "is_train",
}

Line = Mapping[str, str | None]
"""Column -> cell; None behind the end of a line that is too short."""


def records(path: Path, structures: Path | None = None) -> Iterator[Item]:
    """The rows that have a CIF, in order; then one BadRecord that counts those that have none."""
    if structures is None:
        raise BadRecord(path.name, "a table without crystals: say with --structures where the CIFs of its rows lie")
    rows = without = 0
    with open_text(path, errors="replace") as file, opened(structures) as shelf:
        for record, line in _lines(csv.DictReader(file), path.name):
            rows += 1
            item = line if isinstance(line, BadRecord) else _found(line, shelf, record)
            if item is None:
                without += 1
            else:
                yield item
    if without:
        yield BadRecord(path.name, f"{without} of {rows} rows have no CIF in {structures.name}: not imported")


def read_row(line: Line, cif: str, record: str) -> Item:
    """One row and its CIF -> the record, or why there's none."""
    try:
        amounts = _amounts(line, record)
        crystal = _crystal(line, amounts, cif, record)
        return ImportedRecord(
            crystal=crystal,
            record=record,
            source=SOURCE,
            external_ids={"gnome": _material_id(line, record)},
            metadata=_metadata(line, record),
            energy=_energy(line, crystal.nsites / amounts.natoms, record),
            properties=_properties(line, record),
        )
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(record, f"doesn't parse as a row of GNoME's table: {reason_of(error)}")


def beside_gnome(record: ImportedRecord) -> ImportedRecord:
    """A record of the Materials Project with MP_SHIFTS in its correction. GNoME's own rows need none."""
    amounts = {SYMBOLS[number]: count for number, count in record.crystal.amounts.items()}
    shift = sum(MP_SHIFTS.get(symbol, 0.0) * count for symbol, count in amounts.items())
    if record.energy is None or not shift:
        return record
    parameters = {**record.energy.parameters, "gnome_mp_shift": shift}
    energy = replace(record.energy, correction=(record.energy.correction or 0.0) + shift, parameters=parameters)
    return replace(record, energy=energy)


def _lines(reader: csv.DictReader[str], name: str) -> Iterator[tuple[str, Line | BadRecord]]:
    """Each with its record's name. Raise BadRecord for another table."""
    try:
        columns = reader.fieldnames or []
    except csv.Error as error:
        raise BadRecord(name, f"doesn't parse as CSV: {error}") from error
    if missing := [column for column in REQUIRED if column not in columns]:
        raise BadRecord(name, f"isn't GNoME's table of materials: it lacks the columns {', '.join(missing)}")
    index = 0
    while True:
        record = f"{name}:{index}"
        try:
            line: Line = next(reader)
            longer = BadRecord(record, "has more cells than the table has columns: is its list of elements quoted?")
            yield record, longer if None in line else line
        except StopIteration:
            return
        except csv.Error as error:
            yield record, BadRecord(record, f"doesn't parse as CSV: {error}")
        index += 1


def _found(line: Line, shelf: CifShelf, record: str) -> Item | None:
    """None where there is no CIF."""
    names = [line.get(column) or "" for column in ("MaterialId", "Reduced Formula", "Composition")]
    place = shelf.find(*filter(None, names))
    if place is None:
        return None
    try:
        return read_row(line, shelf.read(place, record), record)
    except BadRecord as error:
        return error


def _material_id(line: Line, record: str) -> str:
    written = _text(line, "MaterialId")
    if not re.fullmatch(r"[0-9a-f]{10}", written):
        raise BadRecord(
            record, f"its MaterialId {written[:40]!r} isn't 10 hex digits (a spreadsheet may have changed it)"
        )
    return written


def _amounts(line: Line, record: str) -> Composition:
    """The row's cell, of which the columns Composition, NSites and Elements tell alike."""
    written = _text(line, "Composition")
    counts = {symbol: int(count or 1) for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", written)}
    if not re.fullmatch(r"([A-Z][a-z]?\d*)+", written) or not counts.keys() <= ATOMIC_NUMBERS.keys():
        raise BadRecord(record, f"its Composition {written[:40]!r} is no formula")
    cell = Composition.of({ATOMIC_NUMBERS[symbol]: count for symbol, count in counts.items()})
    if _number(line, "NSites", record) != cell.natoms:
        raise BadRecord(record, f"its Composition {written[:40]!r} has {cell.natoms} atoms, its NSites says otherwise")
    if (elements := _elements(line, record)) is not None and elements != set(cell.elements):
        raise BadRecord(record, f"its Composition {written[:40]!r} has other elements than its column Elements")
    return cell


def _elements(line: Line, record: str) -> set[str] | None:
    """From a list as Python writes it, "['Ag', 'Au']"."""
    if not (written := _text(line, "Elements")):
        return None
    try:
        listed = ast.literal_eval(written[:2000])
    except (*PARSER_FAULTS, SyntaxError, MemoryError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise BadRecord(record, f"its Elements {written[:40]!r} is no list of symbols")
    return set(listed)


def _crystal(line: Line, cell: Composition, cif: str, record: str) -> Crystal:
    """Raise BadRecord where the CIF tells of another crystal than the row."""
    item = read_block(cif, record, SOURCE)
    if isinstance(item, BadRecord):
        raise item
    found = Composition.of(item.crystal.amounts)
    if found.reduced != cell.reduced:
        raise BadRecord(record, f"its CIF holds {found.reduced_formula}, the row says {cell.reduced_formula}")
    volume, told = item.crystal.volume / item.crystal.nsites, _number(line, "Volume", record) / cell.natoms
    if abs(volume / told - 1) > SAME_VOLUME:
        raise BadRecord(record, f"its CIF has {volume:.2f} A^3/atom, the row says {told:.2f}: another crystal")
    return item.crystal


def _energy(line: Line, cells: float, record: str) -> ImportedEnergy:
    """Of the CIF's cell, `cells` times the row's. NaN where the table has none."""
    for column in ENERGIES:
        if abs(value := _number(line, column, record)) > UNPHYSICAL:
            raise BadRecord(record, f"its {column} is {value:g} eV: no crystal has one beyond {UNPHYSICAL:g} eV/atom")
    uncorrected, corrected = (_number(line, f"{word} Energy", record) for word in ("UnCorrected", "Corrected"))
    formation = _number(line, "Formation Energy Per Atom", record)
    if corrected == 0.0 or abs(corrected / _number(line, "NSites", record) - formation) < SAME_ENERGY:
        raise BadRecord(record, f"its Corrected Energy of {corrected:g} eV is no total but a formation energy")
    return ImportedEnergy(uncorrected * cells, (corrected - uncorrected) * cells)


def _metadata(line: Line, record: str) -> dict[str, str | int | float | bool]:
    """What isn't there, NaN among it, is left out."""
    numbers = {name: _number(line, column, record) for column, name in NUMBERS.items()}
    texts = {name: _text(line, column) for column, name in TEXTS.items()}
    told = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return told | {name: _typed(text) for name, text in texts.items() if text}


def _properties(line: Line, record: str) -> list[CrystalProperty]:
    """The band gap, from bands along lines of k-points, and the dimensionality: "2D", or words for what is none."""
    gap, written = _number(line, "Bandgap", record), _text(line, "Dimensionality Cheon")
    found = [] if math.isnan(gap) else [CrystalProperty(BAND_GAP, gap, "eV", "PBE(+U)", {"column": "Bandgap"})]
    if written and written != "nan":
        dimension = re.fullmatch(r"(\d+)D", written)
        value = float(dimension[1]) if dimension else written
        found.append(CrystalProperty(DIMENSIONALITY, value, "1", "Cheon 2017", {"column": "Dimensionality Cheon"}))
    return found


def _typed(text: str) -> str | int | bool:
    if text in ("True", "False"):
        return text == "True"
    return int(text) if text.isdecimal() else text


def _text(line: Line, column: str) -> str:
    return (line.get(column) or "").strip()


def _number(line: Line, column: str, record: str) -> float:
    """NaN where the cell is empty or the column isn't there."""
    written = _text(line, column)
    try:
        return float(written) if written else math.nan
    except ValueError as error:
        raise BadRecord(record, f"its {column} {written[:40]!r} is no number") from error
