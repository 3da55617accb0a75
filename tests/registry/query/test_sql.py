"""What filters find on a real PostgreSQL, and by which plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from registry.identity.composition import SYMBOLS
from registry.models import Structure
from registry.query import materials, sql
from registry.query.columns import COLUMNS
from registry.query.fields import COMPARABLE, FIELDS
from registry.query.filter import Filter, parse
from tests import factories as make
from tests.registry.query.filters import FILTERS


@pytest.fixture
def registry(session: Session) -> Session:
    """Five labelled materials, one candidate that is only predicted, and one crystal nobody looked at."""
    level = make.level(session)
    rows = {}
    for number, (formula, label) in enumerate(
        [("NaCl", "AB_cF8_225_a_b"), ("Li2O", "AB2_cF12_225_a_c"), ("LiFeO2", None), ("Fe2O3", None), ("Li", None)]
    ):
        names = {"mp": f"mp-{number}"}
        rows[formula] = make.material(session, formula, 0.01 * number, level, label=label, external_ids=names)
    candidate = make.structure(session, "KCl", origin="generated", source_name="motherlode")
    model = make.model(session, level)
    make.prediction(session, candidate, model, -2.0, stage="single", spread=None, members=[-2.0])
    make.prediction(session, candidate, model, -1.5, out_of_domain=True)
    turn = make.campaign_round(session, make.campaign(session, level))
    make.selection(session, candidate, turn, model)
    rows |= {"KCl": candidate, "KBr": make.structure(session, "KBr", label="AB_cF8_225_a_b")}
    _relate(session, rows)
    return session


def _relate(session: Session, rows: dict[str, Structure]) -> None:
    """A family, properties (the gap of NaCl twice: the later one counts), a duplicate, and a parent."""
    make.family_member(session, rows["Li2O"], "AB_cF4_225_a:(Li0.5Na0.5)")
    make.property_of(session, rows["NaCl"], "band_gap", 4.9, "PBE")
    make.property_of(session, rows["NaCl"], "band_gap", 8.5, "GW")
    make.property_of(session, rows["LiFeO2"], "dimensionality", 3, "Cheon 2017", unit="1")
    make.duplicate(session, rows["KBr"], rows["NaCl"])
    make.lineage(session, rows["KCl"], rows["NaCl"])


def found(session: Session, asked: str) -> set[str]:
    page = materials.search(session, asked, fields=["reduced_formula"], count_up_to=1_000)
    assert page.count == materials.Count(len(page.data), "exact")
    return {row["reduced_formula"] for row in page.data}


@pytest.mark.parametrize(
    ("asked", "formulas"),
    [
        ("", "NaCl Li2O LiFeO2 Fe2O3 Li KCl KBr"),
        ('elements HAS ALL "Li","O"', "Li2O LiFeO2"),
        ('elements HAS ANY "K","Na"', "NaCl KCl KBr"),
        ('elements HAS ONLY "Li","O","Fe"', "Li2O LiFeO2 Fe2O3 Li"),
        ('elements HAS ONLY "Li","O","Fe","H","He","B","C","N","F"', "Li2O LiFeO2 Fe2O3 Li"),
        ('NOT elements HAS "Li" AND nelements=2', "NaCl Fe2O3 KCl KBr"),
        ("elements LENGTH 3", "LiFeO2"),
        ('chemsys = "O-Li-Fe"', "LiFeO2"),
        ('chemsys != "O-Li-Fe" AND elements HAS "O"', "Li2O Fe2O3"),
        ('reduced_formula = "O2FeLi"', "LiFeO2"),
        ('reduced_formula != "NaCl" AND reduced_formula ENDS "Cl"', "KCl"),
        ('anonymous_formula = "B2A"', "Li2O"),
        ("e_above_hull<0.02", "NaCl Li2O"),
        ("NOT e_above_hull<0.02", "LiFeO2 Fe2O3 Li"),
        ("e_above_hull IS UNKNOWN", "KCl KBr"),
        ("is_stable=TRUE", "NaCl"),
        ('prototype = "AB_cF8_225_a_b"', "NaCl KBr"),
        ("spacegroup_number = 225", "NaCl Li2O KBr"),
        ('NOT prototype = "AB_cF8_225_a_b"', "Li2O"),
        ('external_ids HAS "mp-1"', "Li2O"),
        ('external_ids HAS ANY "mp-1","mp-2"', "Li2O LiFeO2"),
        ("external_ids IS UNKNOWN", "KCl KBr"),
        ('origin = "generated" AND source CONTAINS "lode"', "KCl"),
        ("predicted_formation_energy_per_atom = -1.5", "KCl"),
        ("spread < 0.1", "KCl"),
        ("out_of_domain=TRUE", "KCl"),
        ("out_of_domain=FALSE", ""),
        ("predicted_decomposition_energy < 0", "KCl"),
        ('family = "AB_cF4_225_a:(Li0.5Na0.5)"', "Li2O"),
        ('family IS KNOWN AND family CONTAINS "Li0.5"', "Li2O"),
        ("band_gap > 5", "NaCl"),
        ("band_gap < 5", ""),
        ("band_gap IS KNOWN", "NaCl"),
        ("dimensionality = 2 OR dimensionality = 3", "LiFeO2"),
        ("duplicates IS KNOWN", "NaCl KBr"),
        ("parent IS KNOWN", "KCl"),
        ('NOT parent IS KNOWN AND elements HAS "Cl"', "NaCl"),
        ('level = "test-level"', "NaCl Li2O LiFeO2 Fe2O3 Li"),
        ('discovered_at < "2020-01-01"', ""),
        ("nsites < 99999999999 AND nsites != 2.5 AND volume < 1.0e300", "NaCl Li2O LiFeO2 Fe2O3 Li KCl KBr"),
        ("nsites = 99999999999", ""),
        (r'source = "100%_\\" OR source CONTAINS "%"', ""),
    ],
)
def test_finds(registry: Session, asked: str, formulas: str) -> None:
    assert found(registry, asked) == set(formulas.split())


def test_prototype_of_the_relaxed_crystal_counts(session: Session) -> None:
    cubic = make.structure(session, "BaTiO3", label="ABC3_cP5_221_a_b_c")
    placed = make.calculation(session, cubic, make.level(session), label="ABC3_tP5_99_a_b_bc")
    make.hull_state(session, placed)
    assert found(session, 'prototype = "ABC3_tP5_99_a_b_bc"') == {"BaTiO3"}
    assert found(session, 'prototype = "ABC3_cP5_221_a_b_c"') == set()


def test_relations_are_asked_by_public_id(registry: Session) -> None:
    salt, bromide = (materials.search(registry, f'reduced_formula="{one}"').data[0] for one in ("NaCl", "KBr"))
    assert found(registry, f'parent HAS "{salt["id"]}"') == {"KCl"}
    assert found(registry, f'duplicates HAS "{salt["id"]}"') == {"KBr"}
    assert found(registry, f'duplicates HAS "{bromide["id"]}"') == {"NaCl"}
    assert (salt["duplicates"], salt["parent"], bromide["duplicates"]) == ([bromide["id"]], [], [salt["id"]])
    assert (salt["band_gap"], salt["dimensionality"], salt["family"]) == (8.5, None, None)


def test_asks_about_the_past(session: Session) -> None:
    fell = datetime(2026, 1, 1, tzinfo=UTC)
    placed = make.calculation(session, make.structure(session, "NaCl"), make.level(session))
    make.hull_state(session, placed, 0.0, valid_from=fell - timedelta(days=10), valid_to=fell)
    make.hull_state(session, placed, 0.2, valid_from=fell)
    assert found(session, "is_stable=TRUE") == set()
    assert found(session, 'is_stable=TRUE AS OF "2025-12-25"') == {"NaCl"}
    assert found(session, 'e_above_hull=0.2 AS OF "2026-01-01"') == {"NaCl"}
    assert found(session, 'e_above_hull IS KNOWN AS OF "2020-01-01"') == set()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS)
def test_every_filter_runs(registry: Session, asked: Filter) -> None:
    page = materials.search(registry, asked, "test-level", limit=3)
    assert len(page.data) <= 3


def test_every_field_has_its_column() -> None:
    assert {one.column for one in COMPARABLE.values()} == set(COLUMNS)


@pytest.fixture(scope="module")
def many(new_database: object) -> object:
    """A registry of 20,000 materials, made by the server itself."""
    from registry.database import engine_for

    with new_database() as url:  # type: ignore[operator]
        engine = engine_for(url, "pytest")
        with Session(engine) as session:
            _seed(session)
            session.commit()
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))
            yield session
        engine.dispose()


SEED = """
INSERT INTO composition (reduced_formula, anonymous_formula, chemsys, elements, amounts, nelements)
SELECT a.s || b.s || n, 'AB' || n, a.s || '-' || b.s, ARRAY[a.s, b.s], ARRAY[1, n]::smallint[], 2
FROM unnest(CAST(:symbols AS text[])) AS a(s)
JOIN unnest(CAST(:symbols AS text[])) AS b(s) ON a.s < b.s COLLATE "C", generate_series(1, 2) n;
INSERT INTO prototype (label, spacegroup_number, pearson_symbol)
SELECT 'AB_cP' || i || '_' || 1 + i % 230, 1 + i % 230, 'cP' || i FROM generate_series(1, 400) i;
INSERT INTO structure (public_id, composition_id, chemsys, prototype_id, source_id, origin, nsites, lattice, species,
                       coords, volume)
SELECT 'x' || i, composition.id, chemsys, 1 + i % 400, 1, CASE WHEN i > 20000 THEN 'relaxed' ELSE 'imported' END, 1,
       array_fill(1.0::float8, ARRAY[9]), ARRAY[1]::smallint[], decode(repeat('00', 24), 'hex'), 1
FROM generate_series(1, 40000) i JOIN composition ON composition.id = 1 + i % 4830;
INSERT INTO calculation (level_id, source_id, initial_structure_id, final_structure_id, task, state, energy, correction,
                         settings, engine_version, attempt, node)
SELECT 1, 1, i, i + 20000, 'relax', 'converged', -1, 0, '{}', '0', 1, 'here' FROM generate_series(1, 20000) i;
INSERT INTO hull_state (level_id, calculation_id, structure_id, composition_id, prototype_id, chemsys, nelements,
                        light_elements, heavy_elements, formation_energy_per_atom, e_above_hull, is_stable,
                        decomposition, valid_from)
SELECT 1, id, id, composition_id, prototype_id, chemsys, 2, light, heavy, -1, id % 1000 / 1000.0, id % 1000 = 0, '[]',
       now()
FROM structure, LATERAL (
    SELECT coalesce(bit_or(1::bigint << z - 1) FILTER (WHERE z <= 60), 0) AS light,
           coalesce(bit_or(1::bigint << z - 61) FILTER (WHERE z > 60), 0) AS heavy
    FROM unnest(string_to_array(chemsys, '-')) AS symbol, array_position(CAST(:symbols AS text[]), symbol) AS z
) AS bits WHERE id <= 20000;
INSERT INTO external_id (structure_id, scheme, value) SELECT id, 'mp', 'mp-' || id FROM structure WHERE id <= 20000;
"""


def _seed(session: Session) -> None:
    make.source(session)
    make.level(session)
    for statement in SEED.strip().split(";\n"):
        session.execute(text(statement), {"symbols": list(SYMBOLS[1:71])})


def _plan(session: Session, wanted: Select[object], bound: dict[str, object]) -> str:
    expanded = wanted.compile(session.get_bind()).construct_expanded_state(bound)
    rows = session.connection().exec_driver_sql(f"EXPLAIN {expanded.statement}", dict(expanded.parameters))
    return "\n".join(row[0] for row in rows)


COMMONEST = [
    ("", "e_above_hull", "Index Only Scan using ix_hull_state_current_energy"),
    ("e_above_hull < 0.01", "e_above_hull", "Index Only Scan using ix_hull_state_current_energy"),
    ("is_stable = TRUE AND nelements = 2", "e_above_hull", "Index Only Scan using ix_hull_state_current_energy"),
    (
        'elements HAS ALL "Li","O" AND e_above_hull < 0.05',
        "e_above_hull",
        "Index Only Scan using ix_hull_state_current",
    ),
    ('elements HAS ONLY "Li","O"', "e_above_hull", "ix_hull_state_current_chemsys"),
    ('chemsys = "O-Li"', "e_above_hull", "ix_hull_state_current_chemsys"),
    ('prototype = "AB_cP7_8"', "e_above_hull", "ix_hull_state_current_prototype"),
    ('reduced_formula = "LiO2"', "e_above_hull", "ix_hull_state_current_chemsys"),
    ('elements HAS ALL "Li","O"', "id", "ix_composition_elements"),
    ('id = "x77"', "e_above_hull", "uq_structure_public_id"),
    ('external_ids HAS "mp-77"', "e_above_hull", "ix_external_id_value"),
    ("", "discovered_at", "ix_structure_material_created"),
    ('elements HAS ONLY "Li","O"', "id", "ix_structure_material_chemsys"),
    ('prototype = "AB_cP7_8"', "id", "ix_structure_prototype_id"),
]


@pytest.mark.parametrize(("asked", "sort", "index"), COMMONEST)
def test_plans_read_no_whole_table(many: Session, asked: str, sort: str, index: str) -> None:
    stretch = sql.Stretch(FIELDS[sort], descending=False, known=True, after=None, limit=51)
    plan = _plan(many, sql.page_of(parse(asked), stretch), {"level_id": 1})
    assert index in plan
    for table in ("structure", "hull_state", "calculation", "composition"):
        assert f"Seq Scan on {table}" not in plan


def test_either_hand_of_a_space_group_finds_the_pair(session: Session) -> None:
    make.material(session, "SiO2", 0.0, label="AB2_hP9_152_a_c")
    for asked, formulas in (("spacegroup_number=154", {"SiO2"}), ("spacegroup_number=152", {"SiO2"}),
                            ("spacegroup_number!=154", set())):  # fmt: skip
        assert found(session, asked) == formulas


def test_the_description_of_a_page_can_be_planned_once(many: Session) -> None:
    """For any ids: no whole table is read by a plan that doesn't know them."""
    numbered = postgresql.dialect(paramstyle="numeric_dollar")
    asked = sql.described(tuple(FIELDS), past=False).compile(dialect=numbered)
    assert asked.positiontup is not None
    values = [asked.params[name] or {"level_id": 1, "ids": [1, 2, 3]}[name] for name in asked.positiontup]
    connection = many.connection()
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE description AS {asked}")
    given = ", ".join(f"'{value}'".replace("'[", "'{").replace("]'", "}'") for value in values)
    plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN EXECUTE description({given})"))
    assert "$" in plan
    for table in ("structure", "hull_state", "calculation", "composition"):
        assert f"Seq Scan on {table}" not in plan
