"""Candidates into the registry: one structure a crystal, one row of lineage a way, one number a rule."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.identity.duplicates import Identity
from registry.identity.families import Family, families_of
from registry.identity.public_id import public_id
from registry.ingest import NewStructure, crystal_of, source_id, store
from registry.models import Composition, FamilyMember, Funnel, Lineage, Round, Source, Structure
from registry.states import Operation, Origin
from registry.terms import OWN
from tests import factories as make
from tests.registry.identity.test_families import layered_rock_salt, tetragonal_rock_salt
from workers.campaign import CampaignSettings, _open_round
from workers.candidates.generation import Settings
from workers.candidates.guard import Guarded
from workers.candidates.parents import Described, describe
from workers.generate import Generated, generate_candidates
from workers.known import KnownCrystals

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
SETTINGS = Settings(partial=False)


def salt(session: Session, cation: int, anion: int, edge: float) -> int:
    crystal = Crystal(FCC * edge / 2, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return store(session, [NewStructure(Identity(crystal), Origin.IMPORTED, source_id(session, OWN))])[0].id


@pytest.fixture
def parents(session: Session) -> list[int]:
    """NaCl and KCl, both as rock salt."""
    return [salt(session, 11, 17, 5.6), salt(session, 19, 17, 6.3)]


@pytest.fixture
def turn(session: Session) -> int:
    return make.campaign_round(session, make.campaign(session, make.level(session))).id


def run(session: Session, parents: list[int], turn: int, *family: str, settings: Settings = SETTINGS) -> Generated:
    return generate_candidates(session, parents, family or ("Na", "K", "Cl", "Br"), settings, turn)


def formulas(session: Session) -> list[str]:
    query = select(Composition.reduced_formula).join(Structure, Structure.composition_id == Composition.id)
    return sorted(session.scalars(query.where(Structure.origin == Origin.GENERATED)))


def ways(session: Session, formula: str) -> list[Lineage]:
    query = (
        select(Lineage)
        .join(Structure, Structure.id == Lineage.child_id)
        .join(Composition, Composition.id == Structure.composition_id)
    )
    return list(session.scalars(query.where(Composition.reduced_formula == formula).order_by(Lineage.id)))


def test_one_candidate_by_two_ways_is_one_structure_with_two_parents(session: Session, parents: list[int], turn: int):
    found = run(session, parents, turn)
    assert formulas(session).count("NaBr") == 1
    both = [way for way in ways(session, "NaBr") if not way.arguments["antitype"]]
    assert {way.parent_id for way in both} == set(parents)
    assert len({way.child_id for way in both}) == 1
    assert next(way.rule for way in both) is None
    assert both[1].rule == "label+fingerprint"
    assert found.new == len(formulas(session))


def test_children_of_a_non_commercial_parent_stay_on_its_terms(session: Session, parents: list[int], turn: int):
    terms = {"licence": "CC BY-NC 4.0", "citation": "Somebody (2023)", "non_commercial": True}
    session.get_one(Structure, parents[1]).source_id = make.source(session, "theirs", **terms).id
    run(session, parents[1:], turn)
    query = select(Source).join(Structure, Structure.source_id == Source.id).where(Structure.origin == Origin.GENERATED)
    (source,) = set(session.scalars(query))
    assert (source.name, source.licence, source.non_commercial) == ("motherlode from theirs", "CC BY-NC 4.0", True)
    assert "Somebody (2023)" in source.citation


def test_a_known_crystal_is_found_again_not_stored_again(session: Session, parents: list[int], turn: int):
    run(session, parents, turn)
    assert "KCl" not in formulas(session)
    known = [way for way in ways(session, "KCl") if way.parent_id == parents[0]]
    assert {(way.child_id, way.rule) for way in known} == {(parents[1], "label+fingerprint")}


def test_nobody_is_his_own_parent(session: Session, parents: list[int], turn: int):
    run(session, parents, turn)
    assert all(way.child_id != way.parent_id for way in session.scalars(select(Lineage)))


def test_a_second_run_stores_nothing_new(session: Session, parents: list[int], turn: int):
    first = run(session, parents, turn)
    before = len(session.scalars(select(Lineage)).all())
    again = run(session, parents, turn)
    assert (again.new, again.known) == (0, first.new + first.known)
    assert len(session.scalars(select(Lineage)).all()) == before


def test_the_operation_and_its_arguments_are_kept(session: Session, parents: list[int], turn: int):
    run(session, parents, turn)
    way = ways(session, "NaBr")[0]
    assert way.operation == Operation.IONIC_SUBSTITUTION
    assert way.round_id == turn
    assert way.arguments["elements"] == {"Cl": "Br", "Na": "Na"} or "Br" in str(way.arguments["elements"])
    assert way.probability is not None
    assert 0 < way.probability <= 1


def test_candidates_are_whole_rows(session: Session, parents: list[int], turn: int):
    run(session, parents, turn)
    for row in session.scalars(select(Structure).where(Structure.origin == Origin.GENERATED)):
        crystal = crystal_of(row)
        assert row.prototype_id is not None
        assert row.volume == pytest.approx(crystal.volume)
        assert row.attributes["flags"] == []


def test_what_became_of_all_is_counted(session: Session, parents: list[int], turn: int):
    found = run(session, parents, turn)
    rows = session.scalars(select(Funnel).where(Funnel.round_id == turn)).all()
    assert {row.stage.split(":")[0] for row in rows} == {"generate"}
    assert sum(row.candidates for row in rows if row.rule == "already known") == found.known


def test_counts_of_a_second_run_are_added(session: Session, parents: list[int], turn: int):
    first = run(session, parents, turn)
    again = run(session, parents, turn)
    kept = select(Funnel.candidates).where(Funnel.round_id == turn, Funnel.stage == "generate: kept")
    assert sum(session.scalars(kept)) == first.counts.kept.total() + again.counts.kept.total()


def test_flags_are_kept_and_counted(session: Session, turn: int):
    metal = NewStructure(
        Identity(Crystal(np.eye(3) * 4.2, [11, 11], [[0] * 3, [0.5] * 3])), Origin.IMPORTED, source_id(session, OWN)
    )
    found = run(session, [store(session, [metal])[0].id], turn, "Fr", "Pt")
    flags = [row.attributes["flags"] for row in session.scalars(select(Structure)) if row.origin == Origin.GENERATED]
    assert sorted(flags) == [["radioactive", "guessed_volume"], ["scarce"]]
    counted = select(Funnel.rule, Funnel.candidates).where(Funnel.stage == "generate: flagged")
    assert dict(session.execute(counted).tuples().all()) == dict(found.counts.flagged)


def test_an_ordering_of_a_known_disordered_crystal_is_flagged(session: Session, turn: int):
    """LiFeO2 as alpha-NaFeO2 orders the rock salt (Li,Fe)O, and so does the imported gamma-LiFeO2."""
    parent, known = (
        NewStructure(Identity(one), Origin.IMPORTED, source_id(session, OWN))
        for one in (layered_rock_salt("Co"), tetragonal_rock_salt("Fe"))
    )
    (layered,) = store(session, [parent])
    found = run(session, [layered.id], turn, "Li", "Fe", "O")
    assert found.new > 0
    assert found.counts.flagged["ordered_approximant"] == 0
    session.execute(delete(Lineage))
    session.execute(delete(FamilyMember))
    session.execute(delete(Structure).where(Structure.origin == Origin.GENERATED))
    store(session, [known])
    again = run(session, [layered.id], turn, "Li", "Fe", "O")
    assert again.counts.flagged["ordered_approximant"] > 0
    row = session.get_one(Structure, ways(session, "LiFeO2")[0].child_id)
    assert "ordered_approximant" in row.attributes["flags"]


def test_only_new_compositions_when_asked(session: Session, parents: list[int], turn: int):
    found = run(session, parents, turn, settings=Settings(partial=False, novel_compositions=True))
    assert not {"NaCl", "KCl"} & set(formulas(session))
    assert found.counts.rejected["known_composition"] > 0
    assert set(formulas(session)) == {"NaBr", "KBr"}


def test_the_likeliest_over_all_parents_are_stored_with_their_lineage(session: Session, parents: list[int], turn: int):
    parents += [salt(session, 11, 35, 6.0), salt(session, 37, 17, 6.6)]
    settings = Settings(likeliest=2, novel_compositions=True)
    found = run(session, parents, turn, "Na", "K", "Rb", "Cl", "Br", settings=settings)
    assert formulas(session) == ["KBr", "RbBr"]
    rows = session.scalars(select(Lineage)).all()
    assert {row.parent_id for row in rows} <= set(parents)
    assert all(row.arguments["states"] == "isotypes" and row.arguments["replaced"] for row in rows)
    assert all(row.probability is not None and 0 < row.probability <= 1 for row in rows)
    assert found.counts.kept == {"ionic_substitution": 2}


def test_what_another_run_stores_at_once_is_counted_once(
    session: Session, parents: list[int], turn: int, monkeypatch: pytest.MonkeyPatch
):
    first = run(session, parents[:1], turn)
    assert first.new > 0
    monkeypatch.setattr(KnownCrystals, "find", lambda *_: None)  # looked up before the other run's commit
    second = run(session, parents[:1], turn)
    assert first.new + second.new == len(formulas(session))
    assert second.known == second.counts.rejected["already known"] == first.new


def test_a_limit_ends_the_run_with_exactly_so_many(session: Session, parents: list[int], turn: int):
    found = generate_candidates(session, parents, ("Na", "K", "Cl", "Br"), SETTINGS, turn, limit=1)
    assert found.new == len(formulas(session)) == 1
    assert found.counts.rejected["limit"] > 0


def test_everything_kept_is_accounted_for_where_a_limit_ends_the_run(
    session: Session, parents: list[int], turn: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.generate.BATCH", 2)
    found = generate_candidates(session, parents, ("Na", "K", "Cl", "Br"), SETTINGS, turn, limit=1)
    assert found.counts.kept.total() == found.new + found.known + found.counts.rejected["limit"]


def hang_over_sodium(crystal: Crystal, settings: Settings) -> Described | str:
    while 11 in crystal.amounts:
        time.process_time()
    return describe(crystal, settings)


def test_a_parent_that_hangs_is_counted_and_the_next_is_used(
    session: Session, parents: list[int], turn: int, monkeypatch: pytest.MonkeyPatch
):
    with contextlib.closing(Guarded(hang_over_sodium, 2.0)) as guard:
        monkeypatch.setattr("workers.generate._guard", lambda: guard)
        found = run(session, parents, turn)
    assert found.counts.parents == {"failed: took too long": 1, "used: bond_valence": 1}
    assert found.new > 0


def test_what_is_remembered_of_known_crystals_is_bounded(session: Session, parents: list[int]):
    crystals = KnownCrystals(remembered=1)
    for formula, cation in (("NaCl", 11), ("KCl", 19), ("NaCl", 11)):
        crystals.read(session, [formula])
        one = Identity(Crystal(FCC * 3, [cation, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]))
        assert crystals.find(one) is not None
        assert len(crystals) == 1


def test_what_others_store_is_seen_and_what_was_added_here_is_held_once(session: Session, parents: list[int]):
    """As where several machines share the parents."""
    crystals = KnownCrystals()
    ours, theirs = (Identity(Crystal(FCC * 3, [cation, 35], [[0, 0, 0], [0.5, 0.5, 0.5]])) for cation in (11, 19))
    crystals.read(session, ["NaBr", "KBr"])
    crystals.add(public_id(ours.crystal), ours)
    store(session, [NewStructure(one, Origin.GENERATED, source_id(session, OWN)) for one in (ours, theirs)])
    assert crystals.find(theirs) is None
    for _ in range(2):
        crystals.read(session, ["NaBr", "KBr"])
        assert crystals.find(theirs) == (public_id(theirs.crystal), "label+fingerprint")
        assert len(crystals) == 2


def test_what_another_run_stored_in_the_same_moment_is_not_new(
    session: Session, parents: list[int], turn: int, monkeypatch: pytest.MonkeyPatch
):
    """Neither has seen what the other stored."""
    monkeypatch.setattr("workers.known._stored", lambda _session, _newest: ())
    first, second = run(session, parents, turn), run(session, parents, turn)
    assert first.new == len(formulas(session))
    assert (second.new, second.known) == (0, first.new + first.known)
    assert second.counts.rejected["already known"] == second.known


def test_partial_substitution_keeps_the_family(session: Session, parents: list[int], turn: int):
    run(session, parents, turn, settings=Settings())
    elements = {one for row in session.scalars(select(Composition.elements)) for one in row}
    assert elements <= {"Na", "K", "Cl", "Br"}


def test_each_batch_is_committed_before_the_next_is_made(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """A campaign of hours holds no transaction, and what it proposed so far survives it."""
    monkeypatch.setattr("workers.generate.BATCH", 2)
    with Session(engine) as session:
        known = [salt(session, 11, 17, 5.6), salt(session, 19, 17, 6.3)]
        turn = make.campaign_round(session, make.campaign(session, make.level(session))).id
        session.commit()
        seen: list[int] = []

        def look(_count: int) -> None:
            with Session(engine) as other:
                seen.append(len(formulas(other)))
            assert not session.in_transaction()

        found = generate_candidates(session, known, ("Na", "K", "Cl", "Br"), SETTINGS, turn, look)
    assert len(seen) > 1
    assert seen[-1] == found.new


def test_no_transaction_waits_while_families_are_found(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Ten milliseconds a crystal: the server ends a transaction that thinks for a minute."""
    with Session(engine) as session:
        known = [salt(session, 11, 17, 5.6)]
        turn = make.campaign_round(session, make.campaign(session, make.level(session))).id
        session.commit()
        open_then: list[bool] = []

        def looked(crystal: Crystal) -> list[Family]:
            open_then.append(session.in_transaction())
            return families_of(crystal)

        monkeypatch.setattr("registry.identity.duplicates.families_of", looked)
        found = generate_candidates(session, known, ("Na", "K", "Cl", "Br"), SETTINGS, turn)
    assert open_then == [False] * found.new
    assert open_then


def test_rounds_that_are_opened_at_once_get_numbers_of_their_own(engine: Engine):
    """As by machines that share the parents of one campaign."""
    with Session(engine) as session, session.begin():
        level = make.level(session).id
    settings = CampaignSettings("shared", ("Na", "Cl"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: _open_round(engine, level, settings), range(12)))
    with Session(engine) as session:
        rows = session.execute(select(Round.id, Round.number)).tuples().all()
    assert sorted(number for _, number in rows) == list(range(1, 13))
    assert sorted(found) == sorted(key for key, _ in rows)
