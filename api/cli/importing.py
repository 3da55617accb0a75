"""lode import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.output import as_json, print_json, progress
from api.cli.providing import import_provider, provider_options

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from registry.importers.providers import Query
    from registry.imports import ImportReport, Reading
    from registry.terms import SourceTerms


@click.command(name="import")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--prototypes", is_flag=True, help="The experimental AFLOW prototypes that ship with pymatgen.")
@provider_options
@click.option("--level", help="Keep the energies that the records bring, at this level of their own.")
@click.option("--source", show_default="the provider, or user", help="Where the crystals come from.")
@click.option("--licence", show_default="the provider's, or unknown")
@click.option("--citation", show_default="the provider's, or none", help="Whom to cite for them.")
@click.option("--non-commercial", is_flag=True, help="The licence forbids commercial use; one with NC says so.")
@click.option("--structures", type=click.Path(path_type=Path), help="Archive or folder of the CIFs of GNoME's table.")
@click.option("--mp-shifts", is_flag=True, help="These are energies of the Materials Project: shift them to GNoME's.")
@as_json
def import_(
    files: tuple[Path, ...],
    prototypes: bool,
    provider: str,
    filter_: str,
    chemsys: str,
    energy: str,
    limit: int | None,
    level: str | None,
    source: str | None,
    licence: str | None,
    citation: str | None,
    non_commercial: bool,
    structures: Path | None,
    mp_shifts: bool,
    as_json: bool,
) -> None:
    """Bring crystals in from CIF, POSCAR, extxyz, pymatgen JSON, parquet, ASE databases or GNoME's CSV: FILES.

    Or from a provider on the net. A record that can't be stored is named with its reason, and the others go in; the
    exit code is 1 then. A file whose import was killed goes on where it ended.
    """
    from registry.importers.providers import Query
    from registry.imports import ImportReport, Reading, counted
    from registry.terms import UNTOLD, SourceTerms, forbids_commerce

    non_commercial = non_commercial or forbids_commerce(licence or "")
    query = Query(provider, filter_, chemsys, energy, level is not None, non_commercial)
    reading = Reading(structures, mp_shifts)
    _refuse_a_mix(query, limit, bool(files or prototypes), reading)
    _refuse_unstorable(level=level, source=source, licence=licence, citation=citation)
    terms = SourceTerms(source or UNTOLD.name, licence or UNTOLD.licence, citation or UNTOLD.citation, non_commercial)
    _refuse_contradictions(files, level, terms, reading)
    report, complaints = ImportReport(), 0
    if provider:
        report.add(import_provider(query, limit, level, source, licence, citation))
    if files:
        complaints = _import_files(files, level, terms, reading, report)
    if prototypes:
        import_prototypes(report)
    print_json(counted(report)) if as_json else _print(report)
    if report.refused or complaints:
        sys.exit(1)


def _refuse_a_mix(query: Query, limit: int | None, local: bool, reading: Reading) -> None:
    """Raises SettingsError unless either files and prototypes or a provider are asked for."""
    from registry.errors import SettingsError
    from registry.imports import PLAIN

    asked = query.filter or query.chemsys or query.energy or limit
    if query.provider and (local or reading != PLAIN):
        raise SettingsError("--provider goes alone: import FILES and --prototypes by a command of their own")
    if asked and not query.provider:
        raise SettingsError("--filter, --chemsys, --energy and --limit are questions to a --provider: name one")
    if not local and not query.provider:
        raise SettingsError("nothing to import: name FILES, a --provider, or --prototypes")


def _refuse_contradictions(files: tuple[Path, ...], level: str | None, terms: SourceTerms, reading: Reading) -> None:
    """Raises SettingsError for options that would go unheard."""
    from registry.errors import SettingsError
    from registry.importers.files import format_of
    from registry.terms import UNTOLD

    tables = [path.name for path in files if format_of(path) == "gnome"]
    if reading.structures and not tables:
        raise SettingsError("--structures goes with GNoME's table: name the .csv among FILES")
    if tables and terms != UNTOLD:
        raise SettingsError(f"{tables[0]} comes in on GNoME's own terms: leave out what says where it comes from")
    if reading.mp_shifts and tables:
        raise SettingsError("--mp-shifts is for energies of the Materials Project: import GNoME's table without it")
    if reading.mp_shifts and not level:
        raise SettingsError("--mp-shifts changes energies: say with --level where they shall be kept")


def _refuse_unstorable(**options: str | None) -> None:
    """Raises SettingsError for what no column and no index of the registry takes."""
    from registry.errors import SettingsError
    from registry.importers.record import LONGEST_ID, UNSTORABLE

    for option, value in options.items():
        longest = LONGEST_ID * (4 if option == "citation" else 1)
        if value and UNSTORABLE.search(value):
            raise SettingsError(f"--{option} {value[:40]!r} is no text: write it in UTF-8")
        if value and len(value) > longest:
            raise SettingsError(f"--{option} {value[:40]!r}... is longer than {longest} characters")


def _import_files(
    files: tuple[Path, ...], level: str | None, terms: SourceTerms, reading: Reading, report: ImportReport
) -> int:
    """Import one after the other, and add to the report; how many were refused as a whole."""
    from api.cli.database import open_registry
    from registry.errors import AlreadyImported, LodeError

    engine, refused = open_registry(), 0
    for path in files:
        try:
            report.add(_import_one(engine, path, level, terms, reading))
        except AlreadyImported as said:
            click.echo(f"lode: {said}", err=True)
        except LodeError as error:
            click.echo(f"lode: {error}", err=True)
            refused += 1
    return refused


def _import_one(engine: Engine, path: Path, level: str | None, terms: SourceTerms, reading: Reading) -> ImportReport:
    from sqlalchemy.orm import Session

    from registry.imports import import_file

    done = 0
    with Session(engine) as session, progress() as advance:

        def count(records: int) -> None:
            nonlocal done
            done += records
            advance(f"reading {path.name}", done, 0)

        return import_file(session, path, level, terms, count, reading)


def import_prototypes(report: ImportReport) -> None:
    """Store the AFLOW prototypes and add to the report."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.importers.prototypes import CITATION, SOURCE, read_prototypes
    from registry.imports import Importer, begin_import
    from registry.terms import SourceTerms

    terms = SourceTerms(SOURCE, "MIT (as shipped in pymatgen)", CITATION)
    with Session(open_registry()) as session, session.begin():
        begin_import(session)
        report.add(Importer(session, terms).store(read_prototypes(), lambda _count: None))


def _print(report: ImportReport) -> None:
    if report.resumed:
        click.echo(f"lode: went on where an import was killed, after {report.resumed} records", err=True)
    for bad in report.refused:
        click.echo(f"lode: {bad.record}: {bad.reason}", err=True)
    if report.forgotten:
        click.echo(f"lode: {report.forgotten} more were refused before it was killed", err=True)
    for reason, count in report.off_hull.most_common():
        click.echo(f"lode: {count} kept off the hull: {reason}", err=True)
    refused = len(report.refused) + report.forgotten
    click.echo(f"{report.read} read, {report.imported} imported, {report.duplicates} duplicates, {refused} refused")
