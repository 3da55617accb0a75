"""Pages, counts, levels, hulls and lineages."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.orm import Session

from registry.errors import FilterError, NotFound
from registry.models import Lineage
from registry.query import lineage as lineages
from registry.query import materials
from registry.query.fields import FIELDS
from registry.query.filter import Filter
from registry.query.lineage import lineage
from registry.query.materials import hull_entries, search
from tests import factories as make

SORTS = [sign + one.name for one in FIELDS.values() if one.sorts for sign in ("", "-")]


@pytest.fixture
def twenty_three(session: Session) -> Session:
    """Materials with ties and with values that nobody knows."""
    level = make.level(session)
    formulas = ["NaCl", "Li2O", "LiFeO2", "Fe2O3"]
    for number in range(23):
        e_above_hull = None if number % 4 == 0 else 0.01 * (number % 5)
        label = "AB_cF8_225_a_b" if number % 3 else None
        make.material(session, formulas[number % 4], e_above_hull, level, label=label)
    return session


def pages(session: Session, sort: str, limit: int) -> list[dict[str, object]]:
    rows, cursor = [], None
    while True:
        page = search(session, sort=sort, limit=limit, cursor=cursor)
        rows += page.data
        if page.next is None:
            return rows
        assert len(page.data) == limit
        cursor = page.next


@pytest.mark.parametrize("limit", [4, 23])
def test_pages_cover_everything_once_and_in_order(twenty_three: Session, limit: int) -> None:
    for sort in SORTS:
        rows = pages(twenty_three, sort, limit)
        assert len({row["id"] for row in rows}) == len(rows) == 23, sort
        values = [row[sort.removeprefix("-")] for row in rows]
        known = [value for value in values if value is not None]
        assert values == known + [None] * (23 - len(known)), sort
        assert known == sorted(known, reverse=sort.startswith("-")), sort  # type: ignore[type-var]


def test_page_of_limit_one_is_stable_under_new_rows(twenty_three: Session) -> None:
    first = search(twenty_three, "e_above_hull<0.05", limit=5)
    make.material(twenty_three, "KCl", 0.0)
    second = search(twenty_three, "e_above_hull<0.05", limit=5, cursor=first.next)
    assert not {row["id"] for row in first.data} & {row["id"] for row in second.data}


DEEP = base64.urlsafe_b64encode(b"[" * 90_000).decode()


@pytest.mark.parametrize(
    "cursor", [DEEP, "x", "%%%", "bm9uc2Vuc2U", "WyJhIiwxXQ", "W10", "eyJhIjoxfQ", "bnVsbA", "WzEsMiwxZTk5OV0"]
)
def test_damaged_cursor(session: Session, cursor: str) -> None:
    with pytest.raises(FilterError, match="cursor"):
        search(session, cursor=cursor)


def test_cursor_of_another_question(twenty_three: Session) -> None:
    cursor = search(twenty_three, "nelements=2", limit=1).next
    with pytest.raises(FilterError, match="another filter"):
        search(twenty_three, "nelements=3", limit=1, cursor=cursor)


def test_counts_stop_at_the_cap(twenty_three: Session) -> None:
    question = materials.ask(twenty_three, "", None)
    assert materials.count(twenty_three, question, cap=22) == materials.Count(22, "capped")
    assert materials.count(twenty_three, question, cap=23) == materials.Count(23, "exact")


def test_wrong_wishes(twenty_three: Session) -> None:
    with pytest.raises(FilterError, match="did you mean e_above_hull"):
        search(twenty_three, sort="e_abov_hull")
    with pytest.raises(FilterError, match="did you mean nsites"):
        search(twenty_three, fields=["nsite"])
    with pytest.raises(FilterError, match="can't be ordered"):
        search(twenty_three, sort="elements")
    with pytest.raises(FilterError, match="1 to 1000"):
        search(twenty_three, limit=0)
    with pytest.raises(NotFound, match="known are test-level"):
        search(twenty_three, level="nowhere")


def test_two_hulls_are_never_mixed(session: Session) -> None:
    salt = make.structure(session, "NaCl")
    for name, energy in (("pbe", 0.0), ("r2scan", 0.1)):
        make.hull_state(session, make.calculation(session, salt, make.level(session, name)), energy)
    with pytest.raises(FilterError, match="say which level the energies belong to: pbe, r2scan"):
        search(session)
    assert [row["e_above_hull"] for row in search(session, level="pbe").data] == [0.0]
    assert [row["e_above_hull"] for row in search(session, 'level = "r2scan"').data] == [0.1]


def test_a_level_without_a_hull_needs_no_name(session: Session) -> None:
    make.level(session, "empty")
    make.structure(session, "NaCl")
    (row,) = search(session).data
    assert (row["level"], row["e_above_hull"]) == (None, None)


def test_keys_that_scripts_rely_on(session: Session) -> None:
    ids = {"mp": "mp-22862", "file": "a.cif"}
    make.material(session, "NaCl", 0.0, label="AB_cF8_225_a_b", external_ids=ids)
    (row,) = search(session).data
    assert list(row) == list(FIELDS)
    assert row["external_ids"] == ids
    assert (row["reduced_formula"], row["chemsys"], row["spacegroup_number"]) == ("NaCl", "Cl-Na", 225)


def test_a_scheme_that_gave_two_names(session: Session) -> None:
    salt = make.material(session, "NaCl", external_ids={"mp": "mp-1"})
    make.added(session, make.models.ExternalId(structure_id=salt.id, scheme="mp", value="mp-2"))
    (row,) = search(session, fields=["external_ids"]).data
    assert row == {"external_ids": {"mp": ["mp-1", "mp-2"]}}


def test_hull_of_a_system_and_its_subsystems(session: Session) -> None:
    level = make.level(session)
    for formula, energy in (("Li", 0.0), ("Fe", 0.0), ("Li2O", 0.0), ("LiFeO2", 0.02), ("NaCl", 0.0)):
        make.material(session, formula, energy, level, external_ids={"mp": formula})
    make.material(session, "O2", None)
    hull = hull_entries(session, "O-Fe-Li")
    assert (hull["level"], hull["chemsys"], hull["as_of"]) == ("test-level", "Fe-Li-O", None)
    assert [entry["reduced_formula"] for entry in hull["entries"]] == ["Fe", "LiFeO2", "Li", "Li2O"]
    assert {"id", "external_ids", "is_stable", "decomposition", "phase_separation_energy"} <= set(hull["entries"][0])


def test_hull_of_a_registry_without_any(session: Session) -> None:
    assert hull_entries(session, "Na-Cl") == {
        "level": None, "chemsys": "Cl-Na", "as_of": None, "references": [], "entries": []
    }  # fmt: skip


def test_hull_as_of_a_date(session: Session) -> None:
    fell = datetime(2026, 1, 1, tzinfo=UTC)
    placed = make.calculation(session, make.structure(session, "NaCl"), make.level(session))
    make.hull_state(session, placed, 0.0, valid_from=fell - timedelta(days=10), valid_to=fell)
    make.hull_state(session, placed, 0.2, valid_from=fell)

    def energies(as_of: datetime | None) -> list[float]:
        return [entry["e_above_hull"] for entry in hull_entries(session, "Na-Cl", as_of=as_of)["entries"]]

    assert energies(None) == energies(fell) == [0.2]
    assert energies(fell - timedelta(seconds=1)) == [0.0]
    assert energies(fell - timedelta(days=11)) == []


def test_a_moment_without_a_time_zone_is_in_utc(session: Session) -> None:
    fell = datetime(2026, 1, 1, 12, tzinfo=UTC)
    placed = make.calculation(session, make.structure(session, "NaCl"), make.level(session))
    make.hull_state(session, placed, 0.2, valid_from=fell)
    tokyo = timezone(timedelta(hours=9))
    for moment in (fell, fell.replace(tzinfo=None), fell.astimezone(tokyo)):
        hull = hull_entries(session, "Na-Cl", as_of=moment)
        assert (hull["as_of"], len(hull["entries"])) == ("2026-01-01T12:00:00+00:00", 1)
        assert materials.ask(session, Filter(as_of=moment), None).filter.as_of == fell


def test_the_entries_nearest_the_hull(session: Session) -> None:
    for formula, energy in (("Cl2", 0.3), ("Na", 0.1), ("NaCl", 0.0)):
        make.material(session, formula, energy)

    def formulas(first: int | None) -> list[str]:
        return [entry["reduced_formula"] for entry in hull_entries(session, "Na-Cl", first=first)["entries"]]

    assert formulas(2) == ["NaCl", "Na"]
    assert formulas(None) == ["Cl2", "NaCl", "Na"]


def test_hull_of_no_system(session: Session) -> None:
    with pytest.raises(FilterError, match="isn't a chemical element"):
        hull_entries(session, "Li-Xx")


def test_lineage_walks_both_ways_and_through_relaxations(session: Session) -> None:
    parent = make.structure(session, "NaCl")
    child = make.child(session, parent, "KCl")
    grandchild = make.child(session, child, "KBr", "partial_substitution")
    made = make.calculation(session, grandchild, make.level(session))
    tree = lineage(session, child.public_id)
    assert [(way["parent"], way["operation"]) for way in tree["ancestors"]] == [
        (parent.public_id, "ionic_substitution")
    ]
    assert [(way["generation"], way["operation"]) for way in tree["descendants"]] == [
        (1, "partial_substitution"),
        (2, "relaxation"),
    ]
    assert tree["descendants"][1]["arguments"] == {"calculation_id": made.id}


def test_lineage_that_bites_its_tail_ends(session: Session) -> None:
    one = make.structure(session, "NaCl")
    other = make.child(session, one, "KCl")
    back = {"operation": "ionic_substitution", "arguments": {}}
    make.added(session, Lineage(child_id=one.id, parent_id=other.id, **back))
    assert len(lineage(session, one.public_id)["ancestors"]) == 2


def test_lineages_of_several_keep_apart(session: Session) -> None:
    parents = [make.structure(session, "NaCl") for _ in range(2)]
    children = [[make.child(session, parent).public_id for _ in range(3)] for parent in parents]
    found = lineages.ways(session, "descendants", [one.id for one in parents], 2)
    assert [[way["child"] for way in found[one.id]] for one in parents] == [sorted(names)[:2] for names in children]
    assert set(found[parents[0].id][0]) == set(lineages.WAY)


def test_lineage_of_nobody(session: Session) -> None:
    with pytest.raises(NotFound, match="lode-nobody"):
        lineage(session, "lode-nobody")


def test_pages_are_counted_only_if_asked(twenty_three: Session) -> None:
    assert search(twenty_three).count is None
    assert search(twenty_three, count_up_to=10).count == materials.Count(10, "capped")
