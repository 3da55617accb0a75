"""Reference sets: imported entries compete at a level that they agree with, and at no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch, NotFound
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level as Theory
from registry.hull.levels import level_of
from registry.hull.reference_sets import Added, add_reference_set, theory_of
from registry.hull.store import place
from registry.imports import import_file
from registry.models import Calculation, HullState, Level, ReferenceSet, Source, Unplaced
from registry.terms import SourceTerms
from tests import factories as make
from tests.registry.hull.test_mp2020 import documents, some
from tests.registry.test_imported_levels import POTCARS, entry

MP = SourceTerms("Materials Project", "CC-BY-4.0", "Jain et al., APL Materials 1, 011002 (2013)")
RUN = {"run_type": "GGA", "hubbards": {}}
IRON = {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}


def vasp(name: str = "vasp-pbe", **other: Any) -> Theory:
    table = {"name": name, "engine": "vasp", "functional": "PBE/PBE+U", "correction_scheme": "MP2020"}
    return level_of({**table, "settings": {"input_set": "MPRelaxSet"}, **other})


def told(species: str, energy: float, correction: float = 0.0, edge: float = 4.0, **other: Any) -> dict[str, Any]:
    """An entry of the Materials Project with its pseudopotentials."""
    potcars = sorted({POTCARS[one] for one in species.split()})
    return {**entry(species, energy, edge, potcars=potcars), "correction": correction, **other}


def sodium_oxides(**other: Any) -> list[dict[str, Any]]:
    oxide = {**RUN, "oxide_type": "oxide", **other}
    return [
        told("Na", -1.3, **RUN),
        told("O", -4.9, **RUN),
        told("Na Na O", -11.5, -0.687, 6.0, **oxide),
        told("Na O", -7.0, -0.687, 5.0, **oxide),
    ]


def bring(session: Session, folder: Path, rows: list[dict[str, Any]], level: str = "mp") -> None:
    path = folder / f"{level}-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(rows))
    assert import_file(session, path, level, MP, lambda _count: None).refused == []


def level_named(session: Session, name: str) -> int:
    return session.scalars(sa.select(Level.id).where(Level.name == name)).one()


def stable(session: Session, level_id: int) -> dict[int, tuple[float, float]]:
    """Structure -> formation energy and energy above the hull."""
    rows = session.scalars(sa.select(HullState).where(HullState.level_id == level_id, HullState.valid_to.is_(None)))
    return {row.structure_id: (row.formation_energy_per_atom, row.e_above_hull) for row in rows}


def add(session: Session, name: str = "vasp-pbe", of: str = "mp") -> Added:
    return add_reference_set(session, name, of)


def test_entries_that_agree_compete_at_the_level_too(session: Session, tmp_path: Path):
    bring(session, tmp_path, sodium_oxides())
    ours, theirs = ensure_level(session, vasp()), level_named(session, "mp")
    added = add(session)
    assert (added.stored, added.own, added.withdrawn) == (4, 0, 0)
    assert dict(added.compared) == {
        "functional": "PBE/PBE+U",
        "pseudopotentials": {"Na": "Na_pv", "O": "O"},
        "hubbards": {},
        "correction_scheme": "MP2020",
        "entries": 4,
        "apart": pytest.approx(0.0, abs=1e-12),
    }
    kept = session.scalars(sa.select(ReferenceSet)).one()
    assert (kept.level_id, kept.from_level_id, kept.compared["entries"]) == (ours, theirs, 4)
    assert place(session, ours).entries == place(session, theirs).entries == 4
    assert stable(session, ours) == stable(session, theirs)


def test_raw_energies_and_terms_stay_what_they_were(session: Session, tmp_path: Path):
    bring(session, tmp_path, sodium_oxides())
    ensure_level(session, vasp())
    columns = (
        Calculation.initial_structure_id, Calculation.energy, Calculation.correction, Calculation.source_id,
        Calculation.settings, Calculation.engine_version,
    )  # fmt: skip
    at = {name: sa.select(*columns).join(Level).where(Level.name == name) for name in ("mp", "vasp-pbe")}
    before = sorted(map(tuple, session.execute(at["mp"])), key=lambda row: row[0])
    add(session)
    for name in at:
        assert sorted(map(tuple, session.execute(at[name])), key=lambda row: row[0]) == before
    sources = sa.select(Source.name).join(Calculation, Calculation.source_id == Source.id).distinct()
    assert session.scalars(sources).all() == [MP.name]


def test_what_the_level_computed_itself_stays_its_own(session: Session, tmp_path: Path):
    bring(session, tmp_path, sodium_oxides())
    ours = session.get_one(Level, ensure_level(session, vasp()))
    sodium = session.scalars(sa.select(Calculation).order_by(Calculation.energy.desc())).first()
    assert sodium is not None
    initial = session.get_one(make.models.Structure, sodium.initial_structure_id)
    own = make.calculation(session, initial, ours, energy=-1.31)
    assert (add(session).stored, add(session).own) == (3, 1)
    assert (own.energy, own.reference_set_id) == (-1.31, None)


def test_again_it_follows_what_came_went_and_moved(session: Session, tmp_path: Path):
    bring(session, tmp_path, sodium_oxides())
    ours = ensure_level(session, vasp())
    add(session)
    session.execute(sa.delete(Unplaced))
    assert (add(session).stored, session.scalars(sa.select(Unplaced)).all()) == (0, [])
    by_energy = {
        row.energy: row for row in session.scalars(sa.select(Calculation).join(Level).where(Level.name == "mp"))
    }
    by_energy[-7.0].off_hull = "withdrawn"
    by_energy[-11.5].energy = -11.6
    session.flush()
    bring(session, tmp_path, [told("Na", -1.2, edge=4.1, **RUN)])
    session.execute(sa.delete(Unplaced))
    again = add(session)
    assert (again.stored, again.withdrawn) == (2, 1)
    assert len(session.scalars(sa.select(Unplaced.calculation_id).where(Unplaced.level_id == ours)).all()) == 3
    entries = sa.text("SELECT corrected_energy FROM entry WHERE level_id = :ours ORDER BY 1")
    found = session.scalars(entries, {"ours": ours}).all()
    assert found == pytest.approx([-11.6 - 0.687, -4.9, -1.3, -1.2])
    by_energy[-7.0].off_hull = None
    session.flush()
    assert (add(session).stored, add(session).withdrawn) == (1, 0)


@pytest.mark.parametrize(
    ("level", "rows", "difference"),
    [
        (
            vasp(functional="r2SCAN", correction_scheme="none"),
            [told("Na", -1.3, **RUN)],
            "functional: PBE/PBE+U, the level's is r2SCAN",
        ),
        (vasp(), [told("Na", -1.3)], "functional: not told"),
        (vasp(), [entry("Na", -1.3, **RUN)], "pseudopotential of Na: not told, the level's is Na_pv"),
        (
            vasp(settings={"pseudopotentials": {"Na": "Na"}, "hubbards": {}}),
            [told("Na", -1.3, **RUN)],
            "pseudopotential of Na: Na_pv, the level's is Na",
        ),
        (
            vasp(settings={"pseudopotentials": "gpaw-setups-24", "hubbards": {}}),
            [told("Na", -1.3, **RUN)],
            "pseudopotential of Na: Na_pv, the level's is gpaw-setups-24",
        ),
        (
            vasp(settings={"pseudopotentials": {"Fe": "Fe_pv", "O": "O"}, "hubbards": {"O": {"Fe": 4.0}}}),
            [told("Fe O", -15.0, -0.687 - 2.256, oxide_type="oxide", **IRON)],
            "U of Fe: 5.3 eV, the level's is 4 eV",
        ),
        (vasp(), [told("Na O", -7.0, -0.5, **RUN)], "corrections: other ones than MP2020 gives"),
        (
            vasp(correction_scheme="none"),
            [told("Na O", -7.0, -0.687, **RUN)],
            "corrections: other ones than none gives",
        ),
    ],
)
def test_what_differs_is_listed_and_nothing_is_stored(
    session: Session, tmp_path: Path, level: Theory, rows: list[dict[str, Any]], difference: str
):
    bring(session, tmp_path, [told("O", -4.9, edge=4.3, **RUN), *rows])
    ours = ensure_level(session, level)
    with pytest.raises(LevelMismatch) as refusal:
        add(session)
    assert str(refusal.value).startswith("the entries of level 'mp' can't compete at level 'vasp-pbe': ")
    assert difference in str(refusal.value)
    assert "entries, such as lode-" in str(refusal.value)
    assert session.scalars(sa.select(ReferenceSet)).all() == []
    assert session.scalars(sa.select(Calculation).where(Calculation.level_id == ours)).all() == []


def test_all_that_differs_is_told_at_once(session: Session, tmp_path: Path):
    bring(session, tmp_path, [told("O", -4.9, **RUN), told("Na O", -7.0, -0.5, **RUN), entry("Fe", -8.0, **RUN)])
    ensure_level(session, vasp(functional="PBEsol", correction_scheme="none"))
    with pytest.raises(LevelMismatch) as refusal:
        add(session)
    for part in ("functional: PBE/PBE+U", "(3 entries", "pseudopotential of Fe: not told", "corrections: other"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        (vasp(engine="chgnet"), "only relabelled by that potential"),
        (vasp(settings={}), "don't tell its pseudopotentials and hubbards"),
        (vasp(settings={"pseudopotentials": {}, "hubbards": {"Fe": 4.0}}), "by anion and element"),
        (vasp(correction_scheme="as imported"), "no correction scheme of its own"),
    ],
)
def test_levels_that_take_no_reference_set(session: Session, tmp_path: Path, level: Theory, reason: str):
    bring(session, tmp_path, sodium_oxides())
    ensure_level(session, level)
    with pytest.raises(LevelMismatch, match=reason):
        add(session)


def test_only_levels_of_imported_energies_are_reference_sets(session: Session):
    for name in ("vasp-pbe", "other"):
        ensure_level(session, vasp(name))
    with pytest.raises(LevelMismatch, match="'other' isn't another one"):
        add(session, of="other")
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        add(session, of="nowhere")
    make.level(session, "empty", engine="imported")
    with pytest.raises(LevelMismatch, match="has no entries"):
        add(session, of="empty")


def test_an_element_from_elsewhere_stays_from_there(session: Session, tmp_path: Path):
    """The level has oxygen from a table: the imported oxygen is stored beside it, off the hull."""
    bring(session, tmp_path, sodium_oxides())
    ours = ensure_level(session, vasp(references={"O": -5.0}, tabulated=["O"]))
    assert add(session).stored == 4
    placed = place(session, ours)
    assert (placed.entries, placed.refused) == (3, {})
    oxide = min(one for one, _ in stable(session, ours).values())
    assert oxide == pytest.approx((-11.5 - 0.687 + 2 * 1.3 + 5.0) / 3)


def test_what_is_off_the_hull_there_does_not_come(session: Session, tmp_path: Path):
    bring(session, tmp_path, [*sodium_oxides(), told("Fe O", -15.0, edge=4.2, **RUN)])
    ensure_level(session, vasp())
    assert add(session).compared["entries"] == 4


def test_real_entries_agree_with_the_set_that_made_them(session: Session, tmp_path: Path, lode_test_data: Path):
    """MP2020's entries of 2024 do, those with the corrections of 2013 or with another U don't."""
    rows = [one for one in some(documents(lode_test_data, "mp2024_Li-Fe-P-O")) if len(one["structure"]["species"]) < 30]
    bring(session, tmp_path, rows)
    ensure_level(session, vasp())
    added = add(session)
    assert (added.stored, added.compared["entries"], added.compared["hubbards"]) == (len(rows), len(rows), {"Fe": 5.3})
    assert added.compared["apart"] < 1e-9
    bring(session, tmp_path, [{**one, "correction": one["correction"] + 0.1} for one in rows[:20]], "older")
    with pytest.raises(LevelMismatch, match="other ones than MP2020 gives \\(20 entries"):
        add(session, of="older")


def test_a_level_says_its_theory(session: Session):
    by_set = theory_of(vasp())
    assert by_set.pseudopotentials["Fe"] == "Fe_pv"  # type: ignore[index]
    assert by_set.hubbards["O"]["Fe"] == 5.3
    own = theory_of(vasp(settings={"pseudopotentials": "x", "hubbards": {}}, correction_scheme="none"))
    assert (own.pseudopotentials, dict(own.hubbards), own.scheme) == ("x", {}, "none")


def test_a_level_with_other_potentials_than_the_set_is_compared_by_its_own():
    other = theory_of(vasp(settings={"input_set": "MPRelaxSet", "potcars": {"Na": "Na_sv"}}))
    assert isinstance(other.pseudopotentials, dict)
    assert (other.pseudopotentials["Na"], other.pseudopotentials["Fe"]) == ("Na_sv", "Fe_pv")
