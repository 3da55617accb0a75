"""A partitioned folder gives DuckDB the numbers that the registry gives, and Spark nothing that it can't read."""

from __future__ import annotations

import json
import re
import stat
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from registry.errors import LodeError, SettingsError
from registry.exporters import dataset, parquet
from registry.exporters.materials import ExportReport, Wanted, export
from registry.models import Source
from registry.query.fields import FIELDS
from registry.query.materials import search
from tests import factories as make
from tests.registry.exporters.test_files import _umask

SALTS = ("NaCl", "KCl", "LiCl", "Na2O", "Li2O", "LiFeO2", "NaFeO2", "KFeO2", "LiFeS2", "Na3OCl", "Fe", "Li3FeO3Cl")
PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.+?);\n```", PAGE, re.DOTALL)
LABELS = ("AB_cF8_225_a_b", "AB_cP2_221_a_b", None)


@pytest.fixture
def registry(session: Session) -> Session:
    """Some forty materials of one to four elements with places on a hull, one unlabelled, one not for commerce."""
    level = make.level(session)
    for number in range(40):
        energy = 0.02 * (number // 7 % 3) if number % 10 else None
        label = LABELS[number % 3]
        ids = {"mp": f"mp-{number}"}
        row = make.material(session, SALTS[number % 12], energy, level, label=label, external_ids=ids)
        if number % 3:
            make.property_of(session, row, "band_gap", 0.1 * number, "PBE")
            make.property_of(session, row, "band_gap", 0.2 * number, "GW")
            make.property_of(session, row, "dimensionality", number % 4, "Cheon 2017", unit="1")
    make.source(session, "GNoME", non_commercial=True)
    make.structure(session, "CsCl", source_name="GNoME")
    make.child(session, make.structure(session, "NaBr"), "KBr")
    return session


def written(session: Session, folder: Path, **wanted: Any) -> ExportReport:
    asked = Wanted("parquet", **{"level": "test-level", **wanted}, partitioned=True)
    return export(session, asked, dataset.destination(folder), lambda _done, _total: None)


def ducks(folder: Path, question: str) -> list[tuple[Any, ...]]:
    materials = duckdb.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    assert materials.columns
    return duckdb.sql(question).fetchall()


def rows(session: Session, question: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(text(question))]


def test_a_partition_for_each_number_of_elements(registry: Session, tmp_path: Path) -> None:
    assert written(registry, tmp_path / "all") == ExportReport(42, {"GNoME": 1})
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet"))
    assert names == [f"all/nelements={number}/part-0000.parquet" for number in (1, 2, 3, 4)]
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    assert stat.S_IMODE((tmp_path / "all").stat().st_mode) == 0o777 & ~_umask()


@pytest.mark.parametrize(
    ("of_ducks", "of_registry"),
    [
        (  # stable ternaries per anion
            """SELECT anion, count(*), min(decomposition_energy) FROM materials, unnest(['O', 'S', 'Cl']) AS one(anion)
               WHERE nelements = 3 AND is_stable AND list_contains(elements, anion) GROUP BY anion ORDER BY anion""",
            """SELECT anion, count(*), min(decomposition_energy)
               FROM material, unnest(ARRAY['O', 'S', 'Cl']) AS one(anion)
               WHERE nelements = 3 AND is_stable AND elements @> ARRAY[anion] AND level = 'test-level'
               GROUP BY anion ORDER BY anion""",
        ),
        (  # how far from the hull the crystals of a structure type lie
            """SELECT prototype, spacegroup_number, count(*), round(avg(e_above_hull), 9), max(e_above_hull)
               FROM materials WHERE e_above_hull IS NOT NULL GROUP BY ALL ORDER BY prototype NULLS LAST""",
            """SELECT prototype, spacegroup_number, count(*), round(avg(e_above_hull)::numeric, 9)::float8,
                      max(e_above_hull)
               FROM material WHERE level = 'test-level' AND e_above_hull IS NOT NULL
               GROUP BY prototype, spacegroup_number ORDER BY prototype NULLS LAST""",
        ),
        (  # what another database calls what is on the hull
            """SELECT external_ids->>'mp', reduced_formula FROM materials WHERE is_stable ORDER BY 1""",
            """SELECT value COLLATE "C", reduced_formula FROM material
               JOIN structure ON structure.public_id = material.public_id
               JOIN external_id ON external_id.structure_id = structure.id AND scheme = 'mp'
               WHERE level = 'test-level' AND is_stable ORDER BY 1""",
        ),
        (
            "SELECT nelements, anonymous_formula, count(*) FROM materials GROUP BY ALL ORDER BY ALL",
            """SELECT nelements, anonymous_formula, count(*) FROM structure
               JOIN composition ON composition.id = composition_id JOIN source ON source.id = source_id
               WHERE origin <> 'relaxed' AND NOT non_commercial GROUP BY 1, 2 ORDER BY 1, 2""",
        ),
    ],
)
def test_ducks_and_the_registry_agree(registry: Session, tmp_path: Path, of_ducks: str, of_registry: str) -> None:
    written(registry, tmp_path / "all")
    found = ducks(tmp_path / "all", of_ducks)
    assert found == rows(registry, of_registry)
    assert len(found) > 1


def test_every_field_says_what_a_query_says(registry: Session, tmp_path: Path) -> None:
    written(registry, tmp_path / "all")
    names = [name for name in FIELDS if name not in {"external_ids", "discovered_at"}]
    asked = ducks(tmp_path / "all", f"SELECT {', '.join(names)} FROM materials ORDER BY id")
    free = 'source != "GNoME"'
    page = search(registry, free, sort="id", limit=100, fields=names)
    assert [dict(zip(names, row, strict=True)) for row in asked] == page.data


@pytest.mark.parametrize("question", STATEMENTS)
def test_statements_of_the_page_about_scale(registry: Session, tmp_path: Path, question: str) -> None:
    written(registry, tmp_path / "materials")
    assert len(duckdb.sql(question.replace("'materials/", f"'{tmp_path}/materials/")).fetchall()) > 1


def test_every_statement_of_the_page_is_run() -> None:
    assert len(STATEMENTS) == PAGE.count("```sql") > 0


def test_moments_are_moments(registry: Session, tmp_path: Path) -> None:
    written(registry, tmp_path / "all")
    days = "SELECT discovered_at::timestamptz AT TIME ZONE 'UTC' FROM materials ORDER BY id"
    page = search(registry, 'source != "GNoME"', sort="id", limit=100, fields=["discovered_at"])
    assert [f"{one[0].isoformat()}+00:00" for one in ducks(tmp_path / "all", days)] == [
        one["discovered_at"] for one in page.data
    ]


def test_without_a_level_its_fields_are_empty(registry: Session, tmp_path: Path) -> None:
    assert written(registry, tmp_path / "all", level=None).exported == 42
    question = "SELECT count(level), count(is_stable), count(spread), count(prototype) > 0 FROM materials"
    assert ducks(tmp_path / "all", question) == [(0, 0, 0, True)]


def test_arrays_of_a_crystal(registry: Session, tmp_path: Path) -> None:
    written(registry, tmp_path / "all", filter='external_ids HAS "mp-1"')
    ((lattice, species, coords),) = ducks(tmp_path / "all", "SELECT lattice, species, frac_coords FROM materials")
    assert (len(lattice), species, len(coords)) == (9, "Cl K", 6)


def test_non_commercial_rows_come_along_by_name_alone(registry: Session, tmp_path: Path) -> None:
    assert written(registry, tmp_path / "all", non_commercial=frozenset({"GNoME"})) == ExportReport(43)
    found = ducks(tmp_path / "all", "SELECT licence, source FROM materials WHERE source = 'GNoME'")
    assert len(found) == 1


def test_a_non_commercial_value_stands_in_no_column(registry: Session, tmp_path: Path) -> None:
    row = make.structure(registry, "RbI")
    make.property_of(registry, row, "band_gap", 4.0, "measured")
    theirs = registry.scalars(select(Source.id).where(Source.name == "GNoME")).one()
    for name, value in (("band_gap", 3.5), ("dimensionality", 2)):
        make.property_of(registry, row, name, value, "theirs", source_id=theirs)
    question = "SELECT band_gap, dimensionality, crystal_properties FROM materials WHERE reduced_formula = 'RbI'"
    assert written(registry, tmp_path / "free").properties_left_out == {"GNoME": 2}
    ((gap, dimensionality, told),) = ducks(tmp_path / "free", question)
    assert (gap, dimensionality, len(json.loads(told))) == (4.0, None, 1)
    written(registry, tmp_path / "all", non_commercial=frozenset({"GNoME"}))
    ((gap, dimensionality, told),) = ducks(tmp_path / "all", question)
    assert (gap, dimensionality, len(json.loads(told))) == (3.5, 2, 3)


def test_no_rows_are_a_table_of_no_rows(registry: Session, tmp_path: Path) -> None:
    assert written(registry, tmp_path / "all", filter='elements HAS "Xe"').exported == 0
    assert ducks(tmp_path / "all", "SELECT count(*), count(chemsys) FROM materials") == [(0, 0)]


def test_statistics_of_row_groups_tell_chemical_systems_apart(
    registry: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "BATCH", 2)
    monkeypatch.setattr(dataset, "ROW_GROUP", 4)
    monkeypatch.setattr(dataset, "PART", 8)
    assert written(registry, tmp_path / "all").exported == 42
    files = sorted((tmp_path / "all" / "nelements=3").iterdir())
    assert [file.name for file in files] == ["part-0000.parquet", "part-0001.parquet"]
    spans = [span for file in files for span in _spans(file)]
    assert len(spans) == 4
    assert all(last <= first for (_, last), (first, _) in pairwise(spans))
    assert ducks(tmp_path / "all", "SELECT count(*), count(DISTINCT id) FROM materials") == [(42, 42)]


def _spans(file: Path) -> list[tuple[str, str]]:
    told = pq.read_metadata(file)
    column = told.schema.names.index("chemsys")
    groups = [told.row_group(number) for number in range(told.num_row_groups)]
    assert all(group.num_rows <= 4 for group in groups)
    assert {one.column_index for group in groups for one in group.sorting_columns} == {column}
    statistics = [group.column(column).statistics for group in groups]
    return [(one.min, one.max) for one in statistics]


PLAIN = {pa.string(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("us", tz="UTC")}
PHYSICAL = {"INT32", "INT64", "DOUBLE", "BOOLEAN", "BYTE_ARRAY"}


def test_spark_can_read_it(registry: Session, tmp_path: Path) -> None:
    """What org.apache.spark.sql.execution.datasources.parquet demands: ParquetToSparkSchemaConverter and its readers.

    No unsigned or 8-byte nanosecond types, lists of plain values in the three-level form, names without " ,;{}()=" or
    line breaks that differ by more than their case, the partition's column in no file; pages of version 1.
    """
    written(registry, tmp_path / "all")
    for file in (tmp_path / "all").rglob("*.parquet"):
        schema = pq.read_schema(file)
        inner = [one.type.value_type if pa.types.is_list(one.type) else one.type for one in schema]
        assert set(inner) <= PLAIN
        assert len({name.casefold() for name in schema.names}) == len(schema.names)
        assert not any(set(name) & set(" ,;{}()\n\t=") for name in schema.names)
        assert "nelements" not in schema.names
        columns = [pq.ParquetFile(file).schema.column(number) for number in range(len(schema))]
        assert {one.physical_type for one in columns} <= PHYSICAL
        assert {one.path.split(".", 1)[1] for one in columns if "." in one.path} == {"list.element"}
        moment = next(one for one in columns if one.name == "discovered_at")
        assert "isAdjustedToUTC=true, timeUnit=microseconds" in str(moment.logical_type)
        _has_plain_pages(file)


def _has_plain_pages(file: Path) -> None:
    told = pq.read_metadata(file)
    chunks = [
        told.row_group(group).column(one) for group in range(told.num_row_groups) for one in range(told.num_columns)
    ]
    assert {one.compression for one in chunks} == {"ZSTD"}
    assert {name for one in chunks for name in one.encodings} <= {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}


def test_a_folder_that_holds_something_is_refused(registry: Session, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt", Path("/")):
        with pytest.raises(SettingsError, match="is there already: name a folder that is new or empty"):
            written(registry, path)
    with pytest.raises(LodeError, match="can't be written: No such file or directory"):
        written(registry, tmp_path / "gone" / "all")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(registry: Session, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    assert written(registry, tmp_path / "all").exported == 42
    assert len(list((tmp_path / "all").iterdir())) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), dataset.destination(tmp_path / "all") as draft:  # noqa: PT012
        (draft / "half").write_text("")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_somebody_else_was_faster(tmp_path: Path) -> None:
    with pytest.raises(LodeError, match="can't be written: Directory not empty"):  # noqa: SIM117, PT012
        with dataset.destination(tmp_path / "all"):
            (tmp_path / "all").mkdir()
            (tmp_path / "all" / "theirs").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["all", "theirs"]


def test_a_wrong_question_makes_no_folder(registry: Session, tmp_path: Path) -> None:
    for wanted in ({"filter": "colour = 1"}, {"level": "gone"}, {"non_commercial": frozenset("x")}):
        with pytest.raises(LodeError):
            written(registry, tmp_path / "all", **wanted)
    assert list(tmp_path.iterdir()) == []


def test_the_path_of_a_folder_is_told_to_the_writer(registry: Session, tmp_path: Path) -> None:
    asked = Wanted("parquet", level="test-level", partitioned=True)
    assert export(registry, asked, nullcontext(tmp_path), lambda _done, _total: None).exported == 42
    assert len(list(tmp_path.iterdir())) == 4
