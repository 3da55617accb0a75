"""One registry into another, on two real databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.database import engine_for
from registry.errors import LevelMismatch, LodeError, SchemaOutdated, SettingsError
from registry.hull.store import place
from registry.merge.merging import merge
from registry.merge.origin import url_of
from registry.merge.report import MergeReport
from registry.merge.tables import STAY_BEHIND, TABLES
from registry.models import Base, Frame, Funnel, Import, ModelFile, ReferenceSet, Validation
from tests import factories as make
from tests.conftest import NewDatabase
from tests.registry.accounts import account

# What a registry holds, without any id.
CONTENT = {
    "source": "SELECT name, licence, citation, non_commercial FROM source",
    "structure": "SELECT public_id, label, reduced_formula, source.name, origin, attributes::text, structure.created_at"
    " FROM structure JOIN composition c ON c.id = composition_id JOIN source ON source.id = source_id"
    " LEFT JOIN prototype p ON p.id = prototype_id",
    "external_id": "SELECT public_id, scheme, value FROM external_id JOIN structure ON structure.id = structure_id",
    "duplicate": "SELECT a.public_id, b.public_id, rule FROM duplicate JOIN structure a ON a.id = structure_id"
    " JOIN structure b ON b.id = same_as_id",
    "family": "SELECT public_id, label FROM family_member JOIN family ON family.id = family_id"
    " JOIN structure ON structure.id = structure_id",
    "calculation": "SELECT a.public_id, b.public_id, l.name, s.name, state, energy, correction, error, finished_at"
    " FROM calculation JOIN structure a ON a.id = initial_structure_id"
    " LEFT JOIN structure b ON b.id = final_structure_id"
    " JOIN level l ON l.id = level_id JOIN source s ON s.id = calculation.source_id",
    "frame": "SELECT public_id, step, frame.energy FROM frame JOIN calculation c ON c.id = calculation_id"
    " JOIN structure ON structure.id = initial_structure_id",
    "property": "SELECT public_id, name, value, words, unit, method, provenance::text FROM property"
    " JOIN structure ON structure.id = structure_id",
    "model": "SELECT m.name, checkpoint_sha256, t.sha256, split, parts::text, f.name, md5(content) FROM model m"
    " JOIN training_set t"
    " ON t.id = training_set_id LEFT JOIN model_file f ON model_id = m.id",
    "prediction": "SELECT public_id, m.name, stage, formation_energy_per_atom FROM prediction"
    " JOIN structure s ON s.id = structure_id JOIN model m ON m.id = model_id",
    "round": "SELECT c.name, number, started_at, stage, rule, candidates FROM round"
    " JOIN campaign c ON c.id = campaign_id LEFT JOIN funnel ON round_id = round.id",
    "selection": "SELECT public_id, c.name, number, purpose, rank FROM selection"
    " JOIN structure s ON s.id = structure_id JOIN round r ON r.id = round_id JOIN campaign c ON c.id = campaign_id",
    "search": "SELECT reduced_formula, l.name, structures, seed, search.settings::text, finished_at, public_id, rank"
    " FROM search JOIN composition c ON c.id = composition_id JOIN level l ON l.id = level_id"
    " LEFT JOIN selection ON search_id = search.id LEFT JOIN structure s ON s.id = structure_id",
    "validation": "SELECT number, name, summary::text FROM validation JOIN round r ON r.id = round_id",
    "lineage": "SELECT a.public_id, b.public_id, operation, arguments::text FROM lineage"
    " JOIN structure a ON a.id = child_id LEFT JOIN structure b ON b.id = parent_id",
    "import": "SELECT name, sha256 FROM import",
    "level_bridge": "SELECT a.name, b.name, coefficients::text, residuals::text, sha256 FROM level_bridge"
    " JOIN level a ON a.id = from_level_id JOIN level b ON b.id = to_level_id",
    "reference_set": "SELECT a.name, b.name, compared::text, count(c.id) FROM reference_set AS r"
    " JOIN level a ON a.id = r.level_id JOIN level b ON b.id = r.from_level_id"
    " LEFT JOIN calculation c ON c.reference_set_id = r.id GROUP BY 1, 2, 3",
}


@dataclass(frozen=True)
class Registry:
    """One of the two."""

    url: str
    engine: Engine

    def content(self) -> dict[str, list[tuple[object, ...]]]:
        with self.engine.connect() as connection:
            return {
                name: sorted(map(tuple, connection.execute(sa.text(query))), key=repr)
                for name, query in CONTENT.items()
            }

    def count(self, table: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)

    def values(self, query: str) -> list[object]:
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.text(query)))


@pytest.fixture
def registries(new_database: NewDatabase) -> Iterator[tuple[Registry, Registry]]:
    """The group's and the laptop's, both empty."""
    with new_database() as one, new_database() as two:
        engines = [engine_for(url, "pytest") for url in (one, two)]
        yield Registry(one, engines[0]), Registry(two, engines[1])
        for engine in engines:
            engine.dispose()


def equal_crystals(registry: Registry) -> set[frozenset[object]]:
    """Whoever came first: that differs between two registries."""
    groups: dict[object, set[object]] = {}
    for one, first, _ in registry.content()["duplicate"]:
        groups.setdefault(first, {first}).add(one)
    return {frozenset(group) for group in groups.values()}


def quiet(_table: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def take(ours: Registry, theirs: Registry) -> MergeReport:
    return merge(ours.url, theirs.url, quiet)


def fill(registry: Registry, ids_from: int = 1) -> None:
    """A row or more in every table."""
    with registry.engine.connect() as connection, connection.begin():
        for table in ("structure", "level", "calculation", "composition"):
            connection.execute(sa.text(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {ids_from}"))
    with Session(registry.engine) as session, session.begin():
        level = make.level(session)
        known = make.structure(session, "NaCl", label="AB_cF8_225_a_b", external_ids={"mp": "mp-1"})
        other = make.structure(session, "NaCl")
        make.duplicate(session, other, known)
        theirs = make.level(session, "theirs", engine="imported")
        brought = make.added(session, ReferenceSet(level_id=level.id, from_level_id=theirs.id, compared={"entries": 1}))
        make.level_bridge(session, theirs, level)
        calculation = make.calculation(session, known, level, reference_set_id=brought.id)
        make.failure(session, other, level)
        child = make.child(session, known, "KBr")
        model = make.model(session, level)
        make.prediction(session, child, model)
        session.add(ModelFile(model_id=model.id, name="model.json", content=b"{}"))
        turn = make.campaign_round(session, make.campaign(session, level))
        make.selection(session, child, turn, model)
        make.random_structure(session, make.search(session, "LiF", level, settings={"most_atoms": 8}))
        make.property_of(session, known, "band_gap", 5.0, "PBE", provenance={"code": "VASP"})
        make.property_of(session, known, "colour", None, "seen", "1", words="white")
        make.family_member(session, child, "rocksalt")
        session.add(Funnel(round_id=turn.id, stage="pre", rule="kept", candidates=4))
        session.add(Validation(round_id=turn.id, name="textbook", summary={"found": 1}, rows=[]))
        session.add(Import(name="a.cif", sha256="0", level_id=None, counts={}, records=1, complaints=[]))
        session.add(frame(calculation.id, known.composition_id, known.nsites))
        make.work(session)
        make.worker(session)
        place(session, level.id)


def frame(calculation_id: int, composition_id: int, nsites: int) -> Frame:
    arrays = {"lattice": [0.0] * 9, "coords": b"\0" * 24 * nsites, "forces": b"\0" * 24 * nsites, "stress": [0.0] * 6}
    return Frame(calculation_id=calculation_id, composition_id=composition_id, step=0, energy=-1.0, **arrays)


def test_every_table_comes_or_stays_on_purpose():
    assert {table.name for table in TABLES} | STAY_BEHIND == set(Base.metadata.tables)
    assert not {table.name for table in TABLES} & STAY_BEHIND


def test_everything_arrives_and_twice_adds_nothing(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop, 1000)
    report = take(group, laptop)
    assert group.content() == laptop.content()
    assert all(rows for rows in group.content().values())
    assert all(one.read == one.new > 0 for one in report.tables.values())
    assert (group.count("work"), group.count("worker"), group.count("hull_state")) == (0, 0, 0)
    assert group.values("SELECT promoted FROM model") == [False]
    before = group.content()
    again = take(group, laptop)
    assert {one.new for one in again.tables.values()} == {0}
    assert (again.conflicts, group.content()) == ([], before)


def test_a_search_that_they_finished_is_finished_here(registries: tuple[Registry, Registry]):
    """Its structures came along, so none is made again; one that wants more here goes on."""
    group, laptop = registries
    for registry, wanted in ((laptop, 100), (group, 50)):
        with Session(registry.engine) as session, session.begin():
            level = make.level(session)
            for formula in ("LiF", "NaF"):
                more = 2 if (formula, wanted) == ("NaF", 50) else 1
                asked = make.search(session, formula, level, structures=wanted * 2 * more)
                if registry is laptop:
                    asked.finished_at, asked.counts = asked.created_at, {"made": 1}
                    make.random_structure(session, asked)
    take(group, laptop)
    found = "SELECT reduced_formula || ' ' || structures || ' ' || (finished_at IS NULL) FROM search"
    found += " JOIN composition ON composition.id = composition_id ORDER BY 1"
    assert group.values(found) == ["LiF 200 false", "NaF 200 false"]
    assert group.count("selection WHERE search_id IS NOT NULL") == 2


def test_what_came_is_unplaced_and_place_brings_it(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    take(group, laptop)
    assert group.count("unplaced") == laptop.count("calculation WHERE state = 'converged'") == 1
    with Session(laptop.engine) as session:
        hulls = session.execute(sa.text("SELECT count(*) FROM hull_state")).scalar()
    with Session(group.engine) as session, session.begin():
        place(session, 1)
    assert group.count("hull_state") == hulls


def test_both_ways_end_with_the_same_content(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(group)
    fill(laptop, 50)
    with Session(laptop.engine) as session, session.begin():
        session.execute(sa.text("UPDATE model SET checkpoint_sha256 = repeat('1', 64)"))
        session.execute(sa.text("UPDATE source SET licence = 'CC BY-NC', non_commercial = true"))
    take(group, laptop)
    take(laptop, group)
    assert group.content().keys() == laptop.content().keys()
    for table in ("external_id", "frame", "property", "validation", "lineage", "import", "family"):
        assert group.content()[table] == laptop.content()[table], table
    assert equal_crystals(group) == equal_crystals(laptop)
    for table in ("structure", "calculation", "model", "source", "campaign", "round", "prediction", "selection"):
        assert group.count(table) == laptop.count(table), table
    for ours, theirs in ((group, laptop), (laptop, group)):
        assert {one.new for one in take(ours, theirs).tables.values()} == {0}


def test_names_that_are_taken_get_a_suffix_and_no_flag_is_lost(registries: tuple[Registry, Registry]):
    group, laptop = registries
    for registry in registries:
        fill(registry)
    with Session(laptop.engine) as session, session.begin():
        session.execute(sa.text("UPDATE model SET checkpoint_sha256 = repeat('1', 64)"))
        session.execute(sa.text("UPDATE source SET licence = 'CC BY-NC', non_commercial = true"))
    take(group, laptop)
    assert group.values("SELECT name FROM model ORDER BY id") == ["test-model", "test-model (111111111111)"]
    assert group.values("SELECT name FROM source ORDER BY id") == ["test", "test (CC BY-NC, non-commercial; none)"]
    flagged = "structure JOIN source ON source.id = source_id WHERE non_commercial"
    assert group.count(flagged) == laptop.count("structure")
    assert str(group.values("SELECT name FROM campaign ORDER BY id")[1]).startswith("test-campaign (begun 20")


def test_energies_and_properties_keep_sources_of_their_own(registries: tuple[Registry, Registry]):
    group, laptop = registries
    with Session(laptop.engine) as session, session.begin():
        make.source(session, "filler")  # so that ids differ
        salt, theirs = make.structure(session, "NaCl"), make.source(session, "GNoME", non_commercial=True)
        make.calculation(session, salt, make.level(session), source_id=theirs.id)
        make.property_of(session, salt, "band_gap", 5.0, "PBE", source_id=theirs.id)
    take(group, laptop)
    for table in ("calculation", "property"):
        query = f"SELECT source.name FROM {table} JOIN source ON source.id = {table}.source_id"
        assert group.values(query) == ["GNoME"]
    assert group.values("SELECT name FROM structure JOIN source ON source.id = source_id LIMIT 1") == ["test"]


def test_a_structure_that_is_non_commercial_there_alone_is_told(registries: tuple[Registry, Registry]):
    arrays = make.crystal("NaCl")
    for registry, terms in zip(registries, ({}, {"non_commercial": True}), strict=True):
        with Session(registry.engine) as session, session.begin():
            make.source(session, "test", **terms)
            made = make.structure(session, arrays=arrays).public_id
    (conflict,) = take(*registries).conflicts
    assert (conflict["table"], conflict["id"], conflict["ours"]) == ("structure", made, "test")


def test_a_label_that_is_here_stays_and_another_energy_is_told(registries: tuple[Registry, Registry]):
    group, laptop = registries
    arrays = [make.crystal("NaCl"), make.crystal("KCl")]
    for registry, shift in zip(registries, (0.0, 0.5), strict=True):
        with Session(registry.engine) as session, session.begin():
            level = make.level(session)
            for crystal, change, formula in zip(arrays, (shift, 0.0), ("NaCl", "KCl"), strict=True):
                row = make.structure(session, formula, arrays=crystal)
                calculation = make.calculation(session, row, level, energy=-6.0 + change)
                session.add(frame(calculation.id, row.composition_id, row.nsites))
    report = take(group, laptop)
    assert group.values("SELECT energy FROM calculation") == [-6.0, -6.0]
    assert (report.tables["calculation"].known, report.tables["frame"].known) == (2, 2)
    (conflict,) = report.conflicts
    assert (conflict["ours"], conflict["theirs"], conflict["level"]) == (-3.0, -2.75, "test-level")


def test_another_level_of_the_same_name_is_refused_before_anything_is_written(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    with Session(group.engine) as session, session.begin():
        make.level(session, settings={"fmax": 0.1}, references={"Na": -1.0})
    before = group.content()
    with pytest.raises(LevelMismatch, match="'test-level' has other settings, references there"):
        take(group, laptop)
    assert group.content() == before


def test_levels_of_imported_energies_are_one_by_their_name(registries: tuple[Registry, Registry]):
    for registry, functional in zip(registries, ("PBE", "as imported"), strict=True):
        with Session(registry.engine) as session, session.begin():
            make.level(session, "mp", engine="imported", functional=functional)
    take(*registries)
    assert registries[0].count("level") == 1


def test_what_imported_energies_told_of_their_functional_comes_along(registries: tuple[Registry, Registry]):
    for registry, functional in zip(registries, ("as imported", "r2SCAN"), strict=True):
        with Session(registry.engine) as session, session.begin():
            make.level(session, "mp", engine="imported", functional=functional)
    take(*registries)
    assert registries[0].values("SELECT functional FROM level") == ["r2SCAN"]
    with registries[1].engine.begin() as connection:
        connection.execute(sa.text("UPDATE level SET functional = 'PBE/PBE+U'"))
    with pytest.raises(LevelMismatch, match="level 'mp' has other functional there"):
        take(*registries)


def cell(edge: float, shift: float) -> Crystal:
    return Crystal(np.eye(3) * edge, np.array([55, 17]), np.array([[shift] * 3, [shift + 0.5] * 3]))


def test_a_material_there_is_one_here_though_a_calculation_had_ended_with_it(registries: tuple[Registry, Registry]):
    group, laptop = registries
    for registry, origin in zip(registries, ("relaxed", "imported"), strict=True):
        with Session(registry.engine) as session, session.begin():
            make.structure(session, "CsCl", arrays=cell(4.1, 0.0), origin=origin)
    take(group, laptop)
    assert group.values("SELECT origin FROM structure") == ["imported"]
    take(laptop, group)
    assert laptop.values("SELECT origin FROM structure") == ["imported"]


def test_a_crystal_in_another_cell_is_linked(registries: tuple[Registry, Registry]):
    group, laptop = registries
    ids = []
    for registry, arrays in zip(registries, (cell(4.1, 0.0), cell(4.2, 0.25)), strict=True):
        with Session(registry.engine) as session, session.begin():
            ids.append(make.structure(session, "CsCl", arrays=arrays).public_id)
    with Session(laptop.engine) as session, session.begin():
        first = session.scalars(sa.text("SELECT id FROM structure")).one()
        third = make.structure(session, "CsCl", arrays=cell(4.3, 0.125))
        session.add(make.models.Duplicate(structure_id=third.id, same_as_id=first, rule="test"))
    assert take(group, laptop).twins == 2
    pairs = {(one, other) for one, other, _ in group.content()["duplicate"]}
    assert {other for _, other in pairs} == {ids[0]}
    assert len(pairs) == 2


def test_links_lead_to_firsts_even_where_the_two_disagree_who_came_first(registries: tuple[Registry, Registry]):
    group, laptop = registries
    arrays = {name: make.crystal("NaCl") for name in "abc"}
    for registry, links in ((group, {"c": "a"}), (laptop, {"a": "b"})):
        with Session(registry.engine) as session, session.begin():
            rows = {name: make.structure(session, arrays=one) for name, one in arrays.items()}
            for one, other in links.items():
                make.duplicate(session, rows[one], rows[other])
    take(group, laptop)
    assert group.count("duplicate") == 2
    assert group.count("duplicate a JOIN duplicate b ON a.same_as_id = b.structure_id") == 0
    assert {one.new for one in take(group, laptop).tables.values()} == {0}


def test_rounds_that_both_added_to_one_campaign_are_all_kept(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    take(group, laptop)
    for registry, more in ((group, 1), (laptop, 2)):
        with Session(registry.engine) as session, session.begin():
            campaign = session.scalars(sa.select(make.models.Campaign)).one()
            for number in range(2, 2 + more):
                make.campaign_round(session, campaign, number).started_at = sa.func.clock_timestamp()  # type: ignore[assignment]
                session.flush()
    take(group, laptop)
    assert group.values("SELECT number FROM round ORDER BY number") == [1, 2, 3, 4]
    assert {one.new for one in take(group, laptop).tables.values()} == {0}


def test_a_round_that_ended_since_is_ended_here(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    take(group, laptop)
    assert group.values("SELECT finished_at FROM round") == [None]
    with laptop.engine.begin() as connection:
        connection.execute(sa.text("UPDATE round SET finished_at = now()"))
    take(group, laptop)
    assert group.values("SELECT finished_at FROM round") == laptop.values("SELECT finished_at FROM round") != [None]


def test_what_a_round_has_counted_since_is_counted_here(registries: tuple[Registry, Registry]):
    """A run commits its counts batch by batch."""
    group, laptop = registries
    fill(laptop)
    take(group, laptop)
    with laptop.engine.begin() as connection:
        connection.execute(sa.text("UPDATE funnel SET candidates = candidates + 100"))
    take(group, laptop)
    assert group.values("SELECT candidates FROM funnel") == laptop.values("SELECT candidates FROM funnel") == [104]


def test_a_search_that_was_extended_there_is_extended_here(registries: tuple[Registry, Registry]):
    """Else more structures would be stored than are wanted."""
    group, laptop = registries
    for registry, wanted in ((group, 50), (laptop, 100)):
        with Session(registry.engine) as session, session.begin():
            asked = make.search(session, "LiF", make.level(session), structures=wanted)
            asked.finished_at = asked.created_at
    take(group, laptop)
    assert group.values("SELECT structures FROM search") == [100]
    with laptop.engine.begin() as connection:
        connection.execute(sa.text("UPDATE search SET structures = 200, finished_at = NULL"))
    take(group, laptop)
    assert group.values("SELECT structures || ' ' || (finished_at IS NULL) FROM search") == ["200 true"]
    take(laptop, group)
    assert laptop.values("SELECT structures || ' ' || (finished_at IS NULL) FROM search") == ["200 true"]


# What is refused.


def test_a_registry_is_not_merged_into_itself(database_url: str):
    with pytest.raises(LodeError, match="the registry itself"):
        merge(database_url, database_url, quiet)


def test_other_revisions_are_refused_saying_which_is_older(registries: tuple[Registry, Registry], empty_database: str):
    group, laptop = registries
    for revision, complaint in (("0000", "other registry is older"), ("9999", "this registry is older")):
        with laptop.engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
        with pytest.raises(SchemaOutdated, match=complaint):
            take(group, laptop)
    with pytest.raises(SchemaOutdated, match="holds no registry"):
        merge(group.url, empty_database, quiet)


@pytest.mark.parametrize("place", ["nonsense", "sqlite:///a.db", "postgresql://h:port/x"])
def test_no_url(place: str):
    with pytest.raises(SettingsError):
        url_of(place)


def test_a_folder_whose_server_is_down_says_how_to_start_it(tmp_path: Path):
    with pytest.raises(LodeError, match="lode up"):
        url_of(str(tmp_path))


def test_a_worker_may_not_merge(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    with (
        account(group.url, "IN ROLE lode_worker") as theirs,
        pytest.raises(LodeError, match="may not write level, reference_set, import: merge with an account"),
    ):
        merge(theirs(group.url), laptop.url, quiet)
    assert group.count("structure") == 0


def test_a_reader_of_the_other_registry_suffices(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    with account(laptop.url, "IN ROLE lode_reader") as theirs:
        merge(group.url, theirs(laptop.url), quiet)
    assert group.content() == laptop.content()


# A registry that a real round made.


def test_a_laptops_round_comes_into_a_group_that_knows_some_of_its_crystals(
    registries: tuple[Registry, Registry], tmp_path: Path
):
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    from tests.flow import test_round as flow
    from tests.workers.models import save_tiny_model

    group, laptop = registries
    with Session(group.engine) as session, session.begin():
        make.structure(session, "NaCl")  # so that no id is the same
        flow.import_parents(session)
    shared = group.count("structure") - 1
    flow.run(laptop.engine, save_tiny_model(tmp_path / "tiny"), flow.standin_level())
    report = take(group, laptop)
    assert report.tables["structure"].known == shared > 5
    assert report.conflicts == []
    for table in ("calculation", "frame", "lineage", "prediction", "selection", "round", "model", "funnel"):
        assert group.content().get(table) == laptop.content().get(table), table
        assert laptop.count(table) > 0, table
    for registry in registries:
        with Session(registry.engine) as session, session.begin():
            place(session, session.scalars(sa.select(make.models.Level.id)).one())
    hull = (
        "SELECT public_id || round(e_above_hull::numeric, 8) FROM hull_state"
        " JOIN structure ON structure.id = structure_id WHERE valid_to IS NULL ORDER BY public_id"
    )
    assert group.values(hull) == laptop.values(hull) != []
    assert {one.new for one in take(group, laptop).tables.values()} == {0}


# How it runs.


def test_a_dry_run_says_what_would_come_and_leaves_nothing(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    planned = merge(group.url, laptop.url, quiet, dry_run=True)
    assert group.count("source") == 0
    assert planned.as_dict() == take(group, laptop).as_dict()


STRUCTURES = """
INSERT INTO structure (public_id, composition_id, chemsys, source_id, origin, nsites, lattice, species, coords, volume)
SELECT 'many-' || n, composition_id, chemsys, source_id, 'relaxed', nsites, lattice, species, coords, volume
FROM structure, generate_series(1, :count) AS n WHERE id = :id"""
LABELS = """
INSERT INTO calculation (level_id, source_id, initial_structure_id, final_structure_id, task, state, energy,
                         correction, settings, engine_version, attempt, node)
SELECT level_id, c.source_id, s.id, s.id, task, state, energy, correction, settings, engine_version, attempt, node
FROM calculation AS c, structure AS s WHERE c.initial_structure_id = :id AND s.public_id LIKE 'many-%'"""


def many(registry: Registry, count: int) -> None:
    """Synthetic crystals, each with a label, copied in the database from one."""
    with Session(registry.engine) as session, session.begin():
        row = make.structure(session, "NaCl")
        make.calculation(session, row, make.level(session), final=row)
        session.execute(sa.text(STRUCTURES), {"count": count, "id": row.id})
        session.execute(sa.text(LABELS), {"id": row.id})


# Not getrusage: its maximum begins with the memory of the process that started this one.
MERGE = """
import pathlib, re, sys
from registry.merge.merging import merge
merge(sys.argv[1], sys.argv[2], lambda *_: None)
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def start(group: Registry, laptop: Registry) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MERGE, group.url, laptop.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_killed_in_its_midst_and_run_again_ends_with_the_same_rows(registries: tuple[Registry, Registry]):
    group, laptop = registries
    fill(laptop)
    many(laptop, 20_000)
    process = start(group, laptop)
    while group.count("structure") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert group.count("structure") > 0
    assert group.count("import") == 0  # the last table: it was in its midst
    take(group, laptop)
    assert group.content() == laptop.content()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
def test_memory_stays_flat(registries: tuple[Registry, Registry]):
    """Kilobytes: twenty thousand structures and labels against a handful."""
    group, laptop = registries
    fill(laptop)
    peaks = []
    for count in (0, 20_000):
        if count:
            many(laptop, count)
        output, _ = start(group, laptop).communicate()
        peaks.append(int(output))
    assert group.count("structure") > 20_000
    assert peaks[1] < peaks[0] + 30_000


def test_the_command(registries: tuple[Registry, Registry], monkeypatch: pytest.MonkeyPatch):
    from api.cli.main import cli

    group, laptop = registries
    fill(laptop)
    monkeypatch.setenv("LODE_DATABASE_URL", group.url)
    told = CliRunner().invoke(cli, ["merge", laptop.url, "--json"])
    assert told.exit_code == 0, told.output
    assert '"new":{"source":1,' in told.stdout
    assert "0 conflicts" in CliRunner().invoke(cli, ["merge", laptop.url]).output
