"""At which level imported energies land, and which of them stay off its hull."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch
from registry.hull.level_rows import ensure_level, stored_level
from registry.hull.levels import load_level, shipped_levels
from registry.hull.store import place
from registry.imported_levels import functional_of, level_id_of, run_from
from registry.imports import ImportReport, import_file
from registry.models import Calculation, HullState, Level
from registry.terms import SourceTerms
from tests import factories as make
from tests.registry.hull.test_mp2020 import documents

TERMS = SourceTerms("somebody", "CC0-1.0", "Somebody (2020)")
POTCARS = {"Fe": "PAW_PBE Fe_pv 06Sep2000", "O": "PAW_PBE O 08Apr2002", "Na": "PAW_PBE Na_pv 19Sep2006"}
Bring = Callable[..., ImportReport]


def entry(species: str, energy: float, edge: float = 4.0, **told: Any) -> dict[str, Any]:
    """An entry as the Materials Project's JSON has it; "Fe O"."""
    symbols = species.split()
    abc = [[index / len(symbols)] * 3 for index in range(len(symbols))]
    lattice = [[edge * (row == column) for column in range(3)] for row in range(3)]
    return {
        "energy": energy,
        "correction": 0.0,
        "structure": {"lattice": lattice, "species": symbols, "abc": abc},
        **told,
    }


@pytest.fixture
def bring(session: Session, tmp_path: Path) -> Bring:
    """Import some documents at a level."""
    count = iter(range(100))

    def run(rows: list[dict[str, Any]], level: str = "mp") -> ImportReport:
        path = tmp_path / f"{next(count)}.json"
        path.write_text(json.dumps(rows))
        return import_file(session, path, level, TERMS, lambda _count: None)

    return run


def kept(session: Session) -> dict[str, str | None]:
    """Run type -> why it is off the hull, in the order of energies."""
    rows = session.scalars(sa.select(Calculation).order_by(Calculation.energy))
    return {str(row.settings.get("run_type")): row.off_hull for row in rows}


@pytest.fixture(params=["MP's own JSON", "ComputedStructureEntry"])
def iron_oxides(request: pytest.FixtureRequest, lode_test_data: Path) -> list[dict[str, Any]]:
    """Small cells of Fe, O and their oxides by the Materials Project, in two dialects."""
    found = [one for one in documents(lode_test_data, "mp2021_Li-Fe-O") if "Li" not in one["composition"]]
    found = [one for one in found if len(one["structure"]["species"]) < 15]
    return found if request.param == "MP's own JSON" else list(map(as_computed_entry, found))


def as_computed_entry(document: dict[str, Any]) -> dict[str, Any]:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    from tests.registry.hull.test_mp2020 import structure_of

    told = ("run_type", "hubbards", "potcar_symbols")
    values = (document["run_type"], document["hubbards"], document["potcars"])
    found: dict[str, Any] = ComputedStructureEntry(
        structure_of(document),
        document["energy"],
        correction=document["correction"],
        parameters=dict(zip(told, values, strict=True)),
        data={"oxide_type": document["oxide_type"]},
        entry_id=document["entry_id"],
    ).as_dict()
    return found


def without_u(document: dict[str, Any]) -> dict[str, Any]:
    """The same entry as if it had been computed without U."""
    plain = {"run_type": "GGA", "hubbards": {}}
    if "parameters" in document:
        return {**document, "parameters": {**document["parameters"], **plain}}
    return {**document, **plain}


def formula(document: dict[str, Any]) -> set[str]:
    return set(document["composition"])


def test_real_oxides_without_u_are_kept_off_the_hull(session: Session, bring: Bring, iron_oxides: list[dict[str, Any]]):
    oxides = [one for one in iron_oxides if formula(one) == {"Fe", "O"}][:5]
    rest = [one for one in iron_oxides if one not in oxides]
    report = bring([*map(without_u, oxides), *rest])
    assert report.refused == []
    reason = "MaterialsProject2020Compatibility refuses it: Invalid U value of 0.0 on Fe, expected 5.3"
    assert report.off_hull == {reason: len(oxides)}
    off = session.scalars(sa.select(Calculation).where(Calculation.off_hull.is_not(None))).all()
    assert {(one.energy, one.correction) for one in off} == {(one["energy"], one["correction"]) for one in oxides}
    assert {one.off_hull for one in off} == {reason}
    placed = place(session, session.scalars(sa.select(Level.id)).one())
    assert (placed.entries, placed.refused) == (len(rest), {})


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}, None),
        ({"run_type": "GGA+U", "hubbards": {"Fe": 4.0}}, "Invalid U value of 4.0 on Fe, expected 5.3"),
        ({"run_type": "GGA", "hubbards": None}, "Invalid U value of 0.0 on Fe"),
        ({"hubbards": {"Fe": 4.0}}, "Invalid U value of 4.0 on Fe"),
        ({"run_type": "GGA+U"}, "its run type is GGA+U, but no U values are told"),
        ({"run_type": "GGA+U", "hubbards": {"Fe": "much"}}, "its U values are no numbers"),
        (
            {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}, "potcars": ["PAW_PBE Fe 06Sep2000", POTCARS["O"]]},
            "its pseudopotentials are Fe, O, MP2020 holds for Fe_pv, O",
        ),
        (
            {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}, "potcar_spec": [{"titel": POTCARS["Fe"]}]},
            "its pseudopotentials are Fe_pv, MP2020 holds for Fe_pv, O",
        ),
        ({}, None),
        ({"run_type": "R2SCAN"}, None),
    ],
)
def test_what_is_wrong_with_a_run_is_said(session: Session, bring: Bring, told: dict[str, Any], reason: str | None):
    report = bring([entry("Fe O", -15.0, **told)])
    assert (report.imported, report.refused) == (1, [])
    off_hull = session.scalars(sa.select(Calculation.off_hull)).one()
    assert (reason is None and off_hull is None) or str(reason) in str(off_hull)


def test_the_first_run_type_names_the_functional_and_others_stay_off(session: Session, bring: Bring):
    bring([entry("Na", -1.0), entry("Na", -1.3, 4.1, run_type="GGA"), entry("Na", -1.6, 4.2, run_type="R2SCAN")])
    level = stored_level(session, session.scalars(sa.select(Level.id)).one())
    assert (level.functional, level.correction_scheme) == ("PBE/PBE+U", "as imported")
    assert session.scalars(sa.select(Level.settings_hash)).one() == level.settings_hash
    off = kept(session)
    assert (off["None"], off["GGA"]) == (None, None)
    assert off["R2SCAN"] == "its run type R2SCAN is of another functional than the level's, which is PBE/PBE+U"
    bring([entry("Na", -1.7, 4.3, run_type="r2SCAN")])
    assert place(session, session.scalars(sa.select(Level.id)).one()).entries == 2


def test_two_imports_at_two_levels_never_share_a_hull(session: Session, bring: Bring):
    """The same crystals, at one level 5 eV lower: neither hull hears of the other."""
    rows = [entry("Na", -1.3), entry("O", -4.9), entry("Na O", -8.0), entry("Na O O", -12.0, 5.0)]
    low = [{**row, "energy": row["energy"] - 5.0 * (len(row["structure"]["species"]) == 2)} for row in rows]
    bring(rows, "one")
    bring(low, "other")
    ids = {name: session.scalars(sa.select(Level.id).where(Level.name == name)).one() for name in ("one", "other")}
    for key in ids.values():
        assert place(session, key).entries == 4
    above = {
        name: session.scalars(
            sa.select(HullState.e_above_hull).where(HullState.level_id == key).order_by(HullState.calculation_id)
        ).all()
        for name, key in ids.items()
    }
    assert above["one"] != above["other"]
    shares = sa.text(
        "SELECT count(*) FROM hull_state, jsonb_array_elements(decomposition) AS share "
        "JOIN calculation ON calculation.id = (share->>'calculation_id')::bigint "
        "WHERE calculation.level_id <> hull_state.level_id"
    )
    assert session.scalar(shares) == 0


@pytest.mark.parametrize("name", [name for name in shipped_levels() if load_level(name).kind == "potential"])
def test_into_a_potentials_level_crystals_enter_only_relabelled(session: Session, bring: Bring, name: str):
    told = f"level '{name}' is that of the potential .*: foreign crystals enter it only relabelled by that potential"
    with pytest.raises(LevelMismatch, match=told):
        bring([entry("Na", -1.3)], name)
    assert session.scalars(sa.select(Level)).all() == []


@pytest.mark.parametrize("name", ["mp2018", "oqmd"])
def test_total_energies_never_stand_beside_formation_energies(session: Session, bring: Bring, name: str):
    with pytest.raises(LevelMismatch, match=f"level '{name}' holds formation energies, elements at 0: total energies"):
        bring([entry("Na", -1.3)], name)
    assert session.scalars(sa.select(Level)).all() == []
    ensure_level(session, load_level(name))
    with pytest.raises(LevelMismatch, match="choose another --level"):
        bring([entry("Na", -1.3)], name)


def test_levels_of_a_potential_or_a_code_that_are_here_take_none_either(session: Session):
    make.level(session, "chgnet-mptrj", engine="chgnet")
    make.level(session, "our-gpaw", engine="gpaw")
    with pytest.raises(LevelMismatch, match="only relabelled by that potential"):
        level_id_of(session, "chgnet-mptrj")
    with pytest.raises(LevelMismatch, match="lode level add-reference-set our-gpaw"):
        level_id_of(session, "our-gpaw")


def test_a_level_without_scheme_asks_for_none(session: Session, bring: Bring):
    make.level(session, "pure-pbe", engine="imported", functional="PBE/PBE+U", correction_scheme="none")
    bring([entry("Fe O", -15.0, run_type="GGA"), entry("Na", -1.6, run_type="R2SCAN")], "pure-pbe")
    off = kept(session)
    assert off["GGA"] is None
    assert "another functional" in str(off["R2SCAN"])


def test_a_level_of_mp2020_corrects_what_it_takes(session: Session, bring: Bring):
    make.level(session, "ours", engine="imported", functional="PBE/PBE+U", correction_scheme="MP2020")
    run = {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}
    report = bring([entry("Fe O", -15.0, **run), entry("Fe O O O", -24.0, 6.0)], "ours")
    assert report.refused == []
    rows = session.scalars(sa.select(Calculation).order_by(Calculation.energy.desc())).all()
    assert [row.correction for row in rows] == [pytest.approx(-0.687 - 2.256), None]
    assert [row.off_hull for row in rows] == [None, "how it was computed isn't told: no correction can be found for it"]
    again = bring([entry("Fe O", -15.0, **run), entry("Fe O", -15.0, **run)], "ours")
    assert (again.duplicates, again.refused) == (2, [])


def test_elements_that_a_level_takes_from_elsewhere_stay_off_it(session: Session, bring: Bring):
    gases = {"references": {"O": -4.95}, "tabulated": ["O"]}
    level = make.level(session, "gases", engine="imported", correction_scheme="as imported", **gases)
    bring([entry("Na", -1.3), entry("O", -5.5, 4.1), entry("Na O", -8.0)], "gases")
    off = {row.energy: row.off_hull for row in session.scalars(sa.select(Calculation))}
    assert "tabulated" in str(off[-5.5])
    placed = place(session, level.id)
    assert (placed.entries, placed.refused) == (2, {})
    salt = session.scalars(sa.select(HullState).where(HullState.nelements == 2)).one()
    assert salt.formation_energy_per_atom == pytest.approx((-8.0 + 1.3 + 4.95) / 2)


@pytest.mark.parametrize("energy", [1e6, -2e6, float("nan"), float("inf")])
def test_absurd_energies_are_refused_at_the_door(session: Session, bring: Bring, energy: float):
    report = bring([entry("Na", -1.3), entry("Na", energy, 4.1)])
    assert [bad.record for bad in report.refused] == ["0.json:1"]
    assert "give a finite one" in report.refused[0].reason
    assert session.scalars(sa.select(Calculation.energy)).all() == [-1.3]


@pytest.mark.parametrize(
    ("told", "functional"),
    [("GGA", "PBE/PBE+U"), ("PBE+U", "PBE/PBE+U"), ("r2SCAN", "r2SCAN"), ("HSE06", "HSE06"), ("gga_u", "PBE/PBE+U")],
)
def test_functionals_by_run_type(told: str, functional: str):
    assert functional_of(told) == functional


def test_a_run_by_the_settings_of_its_calculation():
    told = {"run_type": "PBE_U", "hubbards": {"Fe": 5.3}, "potcars": [POTCARS["Fe"]], "oxide_type": "oxide"}
    found = run_from(told)
    assert not isinstance(found, str)
    assert (found.run_type, dict(found.hubbards), found.oxide_type) == ("GGA+U", {"Fe": 5.3}, "oxide")
    assert found.pseudopotentials == (POTCARS["Fe"],)
