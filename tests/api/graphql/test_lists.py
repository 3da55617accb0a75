"""Nested lists end where `first` says, each parent's on its own, in one statement."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from api.graphql.endpoint import Asked, answer
from registry.models import FamilyMember, Funnel
from tests import factories as make

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def ask(engine: Engine, query: str, **variables: Any) -> dict[str, Any]:
    return asyncio.run(answer(engine, Asked(query, variables, None)))


@pytest.fixture
def families(engine: Engine) -> list[str]:
    """Two parents of 25 children each."""
    with Session(engine) as session:
        parents = [make.structure(session, formula) for formula in ("NaCl", "LiCl")]
        for _ in range(25):
            for parent in parents:
                make.child(session, parent, "KCl")
        session.commit()
        return [one.public_id for one in parents]


def test_each_parent_has_its_own_first_children(engine: Engine, families: list[str]) -> None:
    query = "query($n: Int) { materials(first: 2, filter: %s) { nodes { children(first: $n) { material { id } } } } }"
    query %= '"origin = \\"imported\\""'
    for given, count in (({}, 20), ({"n": None}, 20), ({"n": 3}, 3), ({"n": 1000}, 25)):
        nodes = ask(engine, query, **given)["data"]["materials"]["nodes"]
        assert [len(node["children"]) for node in nodes] == [count, count]
        names = [one["material"]["id"] for node in nodes for one in node["children"]]
        assert len(set(names)) == 2 * count


def test_the_oldest_come_first(engine: Engine, families: list[str]) -> None:
    query = "query($id: ID!, $n: Int) { material(id: $id) { children(first: $n) { material { discoveredAt id } } } }"
    whole = ask(engine, query, id=families[0], n=25)["data"]["material"]["children"]
    assert ask(engine, query, id=families[0], n=4)["data"]["material"]["children"] == whole[:4]


@pytest.mark.parametrize("first", [0, -1, 1001])
def test_no_list_is_longer_than_a_thousand(engine: Engine, families: list[str], first: int) -> None:
    query = "query($id: ID!, $n: Int) { material(id: $id) { children(first: $n) { operation } } }"
    (error,) = ask(engine, query, id=families[0], n=first)["errors"]
    assert error["message"] == f"a list holds 1 to 1000 rows, not {first}"


def test_every_nested_list_is_cut(engine: Engine) -> None:
    with Session(engine) as session:
        salt = make.structure(session, "NaCl", external_ids={"mp": "mp-1", "icsd": "2"})
        level = make.level(session)
        placed = make.calculation(session, salt, level)
        make.failure(session, salt, level)
        turn = make.campaign_round(session, make.campaign(session, level))
        make.campaign_round(session, session.get_one(make.models.Campaign, turn.campaign_id), 2)
        family = make.family_member(session, salt, "AB_cF4_225_a:(K0.5Na0.5)").family_id
        for number in (1, 2):
            start = BORN + timedelta(days=number)
            make.hull_state(session, placed, valid_from=start, valid_to=start + timedelta(days=1))
            model = make.model(session, level, f"model-{number}", promoted=False)
            make.prediction(session, salt, model)
            make.selection(session, salt, turn, model, purpose=("label", "refine")[number - 1])
            make.duplicate(session, make.structure(session, "NaCl"), salt)
            make.property_of(session, salt, "band_gap", number, f"method {number}")
            make.added(session, FamilyMember(structure_id=make.structure(session).id, family_id=family))
            make.added(session, Funnel(round_id=turn.id, stage="a", rule=str(number), candidates=1))
        session.commit()
        name = salt.public_id
    fields = {
        "externalIds": "scheme", "calculations": "state", "predictions": "spread", "selections": "purpose",
        "hullHistory": "validFrom", "duplicates": "id", "properties": "name", "familyMembers": "material { id }",
    }  # fmt: skip
    for count in (1, 2):
        lists = " ".join(f"{one}(first: {count}) {{ {within} }}" for one, within in fields.items())
        rounds = f"campaigns {{ rounds(first: {count}) {{ number funnel(first: {count}) {{ rule }} }} }}"
        data = ask(engine, f"query($id: ID!) {{ material(id: $id) {{ {lists} }} {rounds} }}", id=name)["data"]
        assert {one: len(data["material"][one]) for one in fields} == dict.fromkeys(fields, count)
        assert data["material"]["hullHistory"][0]["validFrom"] == (BORN + timedelta(days=1)).isoformat()
        found = data["campaigns"][0]["rounds"]
        assert [(one["number"], len(one["funnel"])) for one in found] == [(1, count), (2, 0)][:count]


def test_what_stands_alone_is_found_however_long_the_list_is(engine: Engine) -> None:
    with Session(engine) as session:
        salt, level = make.structure(session, "NaCl"), make.level(session)
        for _ in range(25):
            make.failure(session, salt, level)
        placed = make.calculation(session, salt, level)
        for day in range(25):
            start = BORN + timedelta(days=day)
            make.hull_state(session, placed, 0.01 * day, valid_from=start, valid_to=start + timedelta(days=1))
        make.hull_state(session, placed, 0.5, valid_from=BORN + timedelta(days=25))
        session.commit()
        name = salt.public_id
    query = "query($id: ID!, $at: DateTime) { material(id: $id, asOf: $at) "
    query += "{ hullState { eAboveHull } relaxedStructure { origin } } }"
    now = ask(engine, query, id=name)["data"]["material"]
    assert now == {"hullState": {"eAboveHull": 0.5}, "relaxedStructure": {"origin": "relaxed"}}
    then = ask(engine, query, id=name, at=(BORN + timedelta(days=22)).isoformat())["data"]["material"]
    assert then["hullState"] == {"eAboveHull": 0.22}


def test_a_hull_says_when_there_is_more(engine: Engine) -> None:
    with Session(engine) as session:
        for formula, energy in (("Na", 0.3), ("Cl", 0.0), ("NaCl", 0.1)):
            make.material(session, formula, energy)
        session.commit()
    query = 'query($n: Int) { hull(chemsys: "Na-Cl", first: $n) { truncated entries { eAboveHull } } }'
    found = {n: ask(engine, query, n=n)["data"]["hull"] for n in (2, 3, None)}
    assert found[2] == {"truncated": True, "entries": [{"eAboveHull": 0.0}, {"eAboveHull": 0.1}]}
    assert found[3] == found[None] == {"truncated": False, "entries": [*found[2]["entries"], {"eAboveHull": 0.3}]}


def test_family_trees_of_many_take_as_many_statements_as_of_one(engine: Engine, families: list[str]) -> None:
    tree = "lineage { ancestors { parent } descendants(first: 3) { child } }"
    query = f"query($n: Int) {{ materials(first: $n) {{ nodes {{ {tree} }} }} }}"
    statements: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *seen: statements.append(seen))
    ask(engine, query, n=1)
    for_one = len(statements)
    nodes = ask(engine, query, n=50)["data"]["materials"]["nodes"]
    assert len(statements) == 2 * for_one
    trees = [(len(node["lineage"]["ancestors"]), len(node["lineage"]["descendants"])) for node in nodes]
    assert sorted(set(trees)) == [(0, 3), (1, 0)]
