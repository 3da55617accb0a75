"""GraphQL's answers, what they cost in statements, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLNonNull
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from api.graphql.endpoint import Asked, answer
from api.graphql.schema import schema
from registry.models import FamilyMember, Funnel, HullEvent, Structure
from registry.query.fields import FIELDS, Type
from registry.query.materials import search
from tests import factories as make

FAMILY = "AB_cF4_225_a:(K0.5Na0.5)"
FORMULAS = ["NaCl", "KCl", "LiCl", "NaBr", "KBr"]
WHOLE = """
query whole($first: Int) {
  materials(first: $first, sort: "discovered_at") {
    count { value kind }
    nodes {
      id reducedFormula externalIds { scheme value } structure { lattice species fracCoords }
      relaxedStructure { id } calculations { energy errorClass finalStructure { volume } }
      predictions { members spread model { name trainingSet { rows } } }
      hullState { eAboveHull decomposition { reducedFormula amount } } hullHistory { validFrom }
      parents { operation material { reducedFormula parents { operation } } } children { material { id } }
      duplicates { id } properties(first: 5) { name value method }
      familyMembers(first: 5) { material { id } }
      selections { campaign round purpose } displacedBy { fellBy material { id } } displaced { at material { id } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""


WIDE = "{ materials(first: 1000) { nodes " + "{ children { material " * 3 + "{ id }" + " } }" * 3 + " } }"
DEEP = "{ materials { nodes " + "{ parents { material " * 5 + "{ id }" + " } }" * 5 + " } }"


def ask(engine: Engine, query: str, **variables: Any) -> dict[str, Any]:
    return asyncio.run(answer(engine, Asked(query, variables, None)))


def fill(session: Session, materials: int) -> None:
    """Materials with all that can hang on them."""
    level = make.level(session)
    model = make.model(session, level)
    turn = make.campaign_round(session, make.campaign(session, level))
    first: Structure | None = None
    for number in range(materials):
        formula = FORMULAS[number % len(FORMULAS)]
        parent = first or make.structure(session, "NaF", label="AB_cF8_225_a_b")
        row = make.child(session, parent, formula)
        first = first or row
        make.failure(session, row, level)
        placed = make.calculation(session, row, level, energy=-6.0, correction=-0.5)
        phases: list[dict[str, object]] = [{"calculation_id": placed.id, "reduced_formula": formula, "amount": 1.0}]
        make.hull_state(session, placed, 0.01 * number, decomposition=phases)
        make.prediction(session, row, model)
        make.selection(session, row, turn, model)
        make.property_of(session, row, "band_gap", 0.1 * number, "PBE")
        make.duplicate(session, row, parent)
        if first is row:
            family = make.family_member(session, row, FAMILY).family_id
        else:
            make.added(session, FamilyMember(structure_id=row.id, family_id=family))


@pytest.fixture
def filled(engine: Engine) -> Engine:
    with Session(engine) as session:
        fill(session, 10)
        session.commit()
    return engine


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def test_the_same_numbers_as_the_registry(filled: Engine) -> None:
    names = (
        "id reducedFormula eAboveHull formationEnergyPerAtom decompositionEnergy spread discoveredAt spacegroupNumber"
    )
    found = ask(filled, f'{{ materials(first: 100, filter: "nelements=2") {{ nodes {{ {names} }} }} }}')
    with Session(filled) as session:
        rows = search(session, "nelements=2", limit=100).data
    snake = [
        "id", "reduced_formula", "e_above_hull", "formation_energy_per_atom", "decomposition_energy", "spread",
        "discovered_at", "spacegroup_number",
    ]  # fmt: skip
    shown = [[node[name] for name in names.split()] for node in found["data"]["materials"]["nodes"]]
    assert shown == [[row[name] for name in snake] for row in rows]


def test_everything_that_hangs_on_a_material(filled: Engine) -> None:
    with Session(filled) as session:
        winner, loser = (make.material(session, formula, energy) for formula, energy in (("CaO", 0.0), ("MgO", 0.1)))
        make.duplicate(session, loser, winner)
        made = [
            session.query(make.models.Calculation).filter_by(initial_structure_id=one.id) for one in (winner, loser)
        ]
        one, other = (query.one() for query in made)
        fall = HullEvent(level_id=one.level_id, calculation_id=one.id, displaced_calculation_id=other.id, fell_by=0.1)
        make.added(session, fall)
        session.commit()
        ids = (winner.public_id, loser.public_id)
    whole = WHOLE.replace('sort: "discovered_at"', 'filter: "chemsys = \\"Mg-O\\""')
    (node,) = ask(filled, whole)["data"]["materials"]["nodes"]
    assert node["id"] == ids[1]
    assert node["displacedBy"] == [{"fellBy": 0.1, "material": {"id": ids[0]}}]
    assert node["duplicates"] == [{"id": ids[0]}]
    seen = "material { id } fellBy level"
    other_side = ask(filled, f'{{ material(id: "{ids[0]}") {{ displaced {{ {seen} }} displacedBy {{ at }} }} }}')
    fall_seen = {"material": {"id": ids[1]}, "fellBy": 0.1, "level": "test-level"}
    assert other_side["data"]["material"] == {"displaced": [fall_seen], "displacedBy": []}


def test_the_history_of_many_materials_takes_as_many_statements_as_that_of_one(engine: Engine) -> None:
    with Session(engine) as session:
        level = make.level(session)
        salts = [make.calculation(session, make.structure(session), level) for _ in range(30)]
        born = datetime(2026, 1, 1, tzinfo=UTC)
        for loser, winner in pairwise(salts):
            make.hull_state(session, loser, 0.0, valid_from=born, valid_to=born + timedelta(days=1))
            make.hull_state(session, loser, 0.1, valid_from=born + timedelta(days=1))
            ids = {"calculation_id": winner.id, "displaced_calculation_id": loser.id, "level_id": level.id}
            make.added(session, HullEvent(**ids, fell_by=0.1, at=born + timedelta(days=1)))
        session.commit()
    history = "hullHistory { validFrom validTo eAboveHull } displacedBy { at material { id } } displaced { fellBy }"
    used, found = [], {}
    for first in (1, 30):
        with counted(engine) as statements:
            found = ask(engine, f'{{ materials(first: {first}, sort: "id") {{ nodes {{ {history} }} }} }}')
        used.append(len(statements))
    nodes = found["data"]["materials"]["nodes"]
    assert sorted({(len(one["hullHistory"]), len(one["displacedBy"]), len(one["displaced"])) for one in nodes}) == [
        (0, 0, 1), (2, 1, 0), (2, 1, 1)
    ]  # fmt: skip
    assert used[0] == used[1]


def test_a_random_structure_comes_from_nothing(engine: Engine) -> None:
    with Session(engine) as session:
        name = make.random_structure(session, make.search(session, "LiF", make.level(session), seed=7)).public_id
        session.commit()
    way = "operation arguments material { id }"
    tree = f"parents {{ {way} }} lineage {{ ancestors {{ parent operation }} }} selections {{ round }}"
    found = ask(engine, f'{{ material(id: "{name}") {{ {tree} }} }}')["data"]["material"]
    ((operation, arguments, material),) = [tuple(one.values()) for one in found["parents"]]
    assert (operation, arguments["seed"], material) == ("random_search", 7, None)
    assert found["lineage"]["ancestors"] == [{"parent": None, "operation": "random_search"}]
    assert found["selections"] == []


def test_a_candidate_in_full(filled: Engine) -> None:
    found = ask(filled, WHOLE, first=50)
    assert "errors" not in found
    node = found["data"]["materials"]["nodes"][2]
    assert node["structure"]["species"] == ["K", "Cl"] or node["structure"]["species"] == ["Cl", "K"]
    assert [one["errorClass"] for one in node["calculations"]] == ["bug", None]
    assert node["hullState"]["decomposition"][0]["amount"] == 1.0
    assert node["parents"][0]["operation"] == "ionic_substitution"
    assert node["parents"][0]["material"]["reducedFormula"] == "NaCl"
    assert node["predictions"][0]["model"] == {"name": "test-model", "trainingSet": {"rows": 10}}
    assert node["selections"] == [{"campaign": "test-campaign", "round": 1, "purpose": "label"}]
    assert found["data"]["materials"]["count"] == {"value": 11, "kind": "exact"}


def test_raw_and_corrected_energies_stand_side_by_side(filled: Engine) -> None:
    fields = "energy correction correctedEnergy correctedEnergyPerAtom state"
    found = ask(filled, f"{{ materials(first: 1) {{ nodes {{ calculations {{ {fields} }} }} }} }}")
    failed, converged = found["data"]["materials"]["nodes"][0]["calculations"]
    assert failed["correctedEnergy"] is None
    assert [converged[one] for one in fields.split()] == [-6.0, -0.5, -6.5, -3.25, "converged"]


def test_as_many_statements_for_many_as_for_few(engine: Engine) -> None:
    with Session(engine) as session:
        fill(session, 50)
        session.commit()
    used = []
    for first in (3, 50):
        with counted(engine) as statements:
            assert "errors" not in ask(engine, WHOLE, first=first)
        used.append(len(statements))
    assert used[0] == used[1] <= 25


def test_the_question_that_the_page_about_histories_shows(filled: Engine) -> None:
    page = (Path(__file__).parents[3] / "docs" / "hull-history.md").read_text()
    query = page[page.index("    { materials(") : page.index("In SQL:")].replace("LiFePO4", "NaCl")
    nodes = ask(filled, query)["data"]["materials"]["nodes"]
    assert [len(node["hullHistory"]) for node in nodes] == [1, 1]


def test_pages(filled: Engine) -> None:
    query = "query($after: String) { materials(first: 4, after: $after) { nodes { id } edges { cursor }"
    query += " pageInfo { hasNextPage endCursor } } }"
    seen: list[str] = []
    after = None
    while True:
        page = ask(filled, query, after=after)["data"]["materials"]
        seen += [node["id"] for node in page["nodes"]]
        assert page["edges"][-1]["cursor"] == page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert len(seen) == len(set(seen)) == 11


def test_one_material_its_family_and_its_file(filled: Engine) -> None:
    ids = ask(filled, '{ materials(sort: "discovered_at", first: 2) { nodes { id } } }')["data"]["materials"]["nodes"]
    query = "query($id: ID!) { material(id: $id) { structure { cif } lineage { ancestors { parent operation } } } }"
    found = ask(filled, query, id=ids[1]["id"])["data"]["material"]
    assert found["lineage"]["ancestors"][0] == {"parent": ids[0]["id"], "operation": "ionic_substitution"}
    assert "_cell_length_a" in found["structure"]["cif"]


def test_hull_work_campaigns_models_levels(filled: Engine) -> None:
    with Session(filled) as session:
        make.work(session, "label", "dead")
        make.worker(session)
        make.added(session, Funnel(round_id=1, stage="substitution", rule="kept", candidates=10**10))
        session.commit()
    found = ask(
        filled,
        """{ hull(chemsys: "Na-Cl") { level entries { reducedFormula isStable } }
             work { kind waiting running dead } workers { host kinds }
             campaigns { name rounds { number funnel { rule candidates } } }
             models { name metrics trainingSet { name sha256 } } levels { name references } }""",
    )
    assert "errors" not in found
    data = found["data"]
    assert [one["reducedFormula"] for one in data["hull"]["entries"]] == ["NaCl", "NaCl"]
    assert {"kind": "label", "waiting": 0, "running": 0, "dead": 1} in data["work"]
    assert data["campaigns"][0]["rounds"][0]["funnel"] == [{"rule": "kept", "candidates": 1e10}]
    assert data["models"][0]["trainingSet"]["name"] == "test-model"
    assert data["levels"][0]["references"] == {}


def test_the_filter_language_explains_itself(engine: Engine) -> None:
    fields = ask(engine, "{ fields { name unit description operators } }")["data"]["fields"]
    assert [one["name"] for one in fields] == list(FIELDS)
    material = schema().graphql_schema.type_map["Material"]
    assert material.fields["eAboveHull"].description == FIELDS["e_above_hull"].explanation


LISTS = {"external_ids": "externalIds", "duplicates": "duplicates", "parent": "parents"}
"""Fields that hold several words are lists of more than the word."""


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_a_material_has_every_field_with_its_description() -> None:
    shown = schema().graphql_schema.type_map["Material"].fields
    for name, field in FIELDS.items():
        assert (LISTS[name] if field.type is Type.WORDS else camel(name)) in shown
        if field.type is not Type.WORDS:
            assert shown[camel(name)].description == field.explanation
            assert isinstance(shown[camel(name)].type, GraphQLNonNull) != field.nullable


def test_every_field_says_what_a_query_says(filled: Engine) -> None:
    with Session(filled) as session:
        (first, other, *_) = session.scalars(select(Structure).where(Structure.origin == "generated")).all()
        make.property_of(session, first, "band_gap", 8.5, "GW")
        make.property_of(session, first, "dimensionality", 3, "Cheon 2017", unit="1")
        session.commit()
        ids = first.public_id, other.public_id
        rows = {row["id"]: row for row in search(session, limit=100).data}
    scalars = {camel(name): name for name, field in FIELDS.items() if field.type is not Type.WORDS}
    lists = "duplicates { id } parents { material { id } } familyMembers { material { id family } } "
    lists += "properties { name value words unit method source }"
    found = ask(filled, f"{{ materials(first: 100) {{ nodes {{ {' '.join(scalars)} {lists} }} }} }}")
    nodes = {node["id"]: node for node in found["data"]["materials"]["nodes"]}
    assert nodes.keys() == rows.keys()
    for name, node in nodes.items():
        assert {one: node[shown] for shown, one in scalars.items()} == {
            one: rows[name][one] for one in scalars.values()
        }
        assert sorted(one["id"] for one in node["duplicates"]) == rows[name]["duplicates"]
        assert sorted(one["material"]["id"] for one in node["parents"]) == rows[name]["parent"]
    one = nodes[ids[0]]
    assert (one["bandGap"], one["dimensionality"]) == (8.5, 3)
    assert one["familyMembers"][:1] == [{"material": {"id": ids[1], "family": FAMILY}}]
    known = [(name["name"], name["value"], name["method"]) for name in one["properties"]]
    assert known == [("band_gap", 8.5, "GW"), ("band_gap", 0.0, "PBE"), ("dimensionality", 3, "Cheon 2017")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('{ materials(filter: "e_abov_hull<1") { nodes { id } } }', "did you mean e_above_hull?"),
        ('{ materials(sort: "nsite") { nodes { id } } }', "did you mean nsites?"),
        ('{ materials(after: "x") { nodes { id } } }', "cursor is damaged"),
        ("{ materials(first: 5000) { nodes { id } } }", "1 to 1000"),
        ('{ material(id: "lode-x") { id } }', "there is no structure 'lode-x'"),
        ('{ hull(chemsys: "Xx") { level } }', "isn't a chemical element"),
        ("{ materials { nodes { idd } } }", "Cannot query field 'idd'"),
        ("{ materials", "Syntax Error"),
        ("{ levels { name } " * 600 + "}" * 600, "Syntax Error"),
        ("{" + " ".join(f"a{i}: levels {{ name }}" for i in range(900)) + "}", "more than 2000 tokens"),
        (WIDE, "the answer could hold"),
        (DEEP, "nests 13 deep"),
        ("{ materials { nodes { ...a } } } fragment a on Material { parents { material { ...a } } }", "itself"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(engine: Engine, query: str, message: str) -> None:
    found = ask(engine, query)
    assert message in found["errors"][0]["message"]
    assert "SELECT" not in str(found)


def test_a_broken_database_shows_no_sql(filled: Engine) -> None:
    with filled.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE worker RENAME TO labourer")
    (error,) = ask(filled, "{ workers { host } }")["errors"]
    assert error["message"].startswith("something broke here; the server's log has it as ")
    assert error["extensions"] == {"code": "InternalError"}


def test_nothing_is_written_and_no_connection_is_kept(filled: Engine) -> None:
    assert "errors" not in ask(filled, WHOLE, first=5)
    assert filled.pool.checkedout() == 0  # type: ignore[attr-defined]
