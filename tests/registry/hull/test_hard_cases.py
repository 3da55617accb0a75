"""What trips hulls up, on real rows: each way of placing gives what pymatgen or a linear program gives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from scipy.optimize import linprog
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from registry.hull.geometry import Entry, compute_hull
from registry.hull.store import KeptHulls, Placed, place
from registry.models import Calculation, HullState, Level, Unplaced
from registry.query.values import formula_amounts
from tests import factories as make

EXACT = 1e-9
OXIDES = {"Li": -1.9, "O": -4.9, "Fe": -8.4, "Li2O": -14.3, "FeO": -15.1, "Fe2O3": -33.0, "LiFeO2": -26.0}


@pytest.fixture
def level_id(engine: Engine) -> int:
    with Session(engine) as session, session.begin():
        return make.level(session, "level").id


def label(engine: Engine, level_id: int, formula: str, energy: float) -> int:
    """A labelled crystal; energy in eV per formula unit."""
    with Session(engine) as session, session.begin():
        at = session.get_one(Level, level_id)
        return make.calculation(session, make.structure(session, formula), at, energy=energy).id


def catch_up(engine: Engine, level_id: int, hulls: KeptHulls) -> Placed:
    """Place what the trigger noted."""
    with Session(engine) as session, session.begin():
        ids = session.scalars(delete(Unplaced).returning(Unplaced.calculation_id)).all()
        return hulls.place(session, level_id, sorted(set(ids)))


def change(engine: Engine, key: int, **columns: object) -> None:
    with Session(engine) as session, session.begin():
        session.execute(update(Calculation).where(Calculation.id == key).values(**columns))


def states(engine: Engine) -> dict[int, HullState]:
    with Session(engine, expire_on_commit=False) as session:
        return {
            row.calculation_id: row for row in session.scalars(select(HullState).where(HullState.valid_to.is_(None)))
        }


def assert_rebuilt_equal(engine: Engine, level_id: int) -> None:
    with Session(engine) as session:
        assert place(session, level_id).changed == 0
        session.rollback()


def assert_as_pymatgen(engine: Engine, entries: Mapping[int, tuple[str, float]]) -> None:
    """entries: calculation -> formula and energy in eV per formula unit."""
    diagram_of = {key: PDEntry(Composition(formula), energy) for key, (formula, energy) in entries.items()}
    diagram, found = PhaseDiagram(list(diagram_of.values())), states(engine)
    assert found.keys() == entries.keys()
    for key, entry in diagram_of.items():
        assert found[key].e_above_hull == pytest.approx(diagram.get_e_above_hull(entry), abs=EXACT)
        wanted = diagram.get_form_energy_per_atom(entry)
        assert found[key].formation_energy_per_atom == pytest.approx(wanted, abs=EXACT)


def test_a_system_that_lacks_an_element_is_refused_by_name_and_the_others_go_on(engine: Engine, level_id: int):
    hulls, ids = KeptHulls(), {}
    for formula, energy in {**OXIDES, "NaFeO2": -27.0, "NaCl": -7.0}.items():
        ids[formula] = label(engine, level_id, formula, energy)
    placed = catch_up(engine, level_id, hulls)
    reasons = {key: str(error) for key, error in placed.refused.items()}
    assert reasons.keys() == {ids["NaFeO2"], ids["NaCl"]}
    assert reasons[ids["NaFeO2"]].startswith("no reference energy for Na:")
    assert reasons[ids["NaCl"]].startswith("no reference energy for Cl, Na:")
    assert_as_pymatgen(engine, {ids[formula]: (formula, energy) for formula, energy in OXIDES.items()})
    ids["Na"] = label(engine, level_id, "Na", -1.3)
    placed = catch_up(engine, level_id, hulls)
    assert list(placed.refused) == []  # nobody asked for the salt again; its work stays dead, with its reason
    entries = {**OXIDES, "NaFeO2": -27.0, "Na": -1.3}
    assert_as_pymatgen(engine, {ids[formula]: (formula, energy) for formula, energy in entries.items()})


def test_a_lower_element_that_comes_later_moves_all_its_compounds(engine: Engine, level_id: int):
    hulls = KeptHulls()
    entries = {label(engine, level_id, formula, energy): (formula, energy) for formula, energy in OXIDES.items()}
    catch_up(engine, level_id, hulls)
    for formula, energy in (("Fe", -8.6), ("Li", -3.0), ("Li", -1.95)):
        entries[label(engine, level_id, formula, energy)] = (formula, energy)
        catch_up(engine, level_id, hulls)
        assert_as_pymatgen(engine, entries)
        assert_rebuilt_equal(engine, level_id)


def test_ties_and_duplicates_go_to_the_older_entry_in_whatever_order_they_are_placed(engine: Engine, level_id: int):
    ids = {formula: label(engine, level_id, formula, energy) for formula, energy in OXIDES.items()}
    twins = [ids["Li2O"], *(label(engine, level_id, "Li2O", OXIDES["Li2O"]) for _ in range(2))]
    with Session(engine) as session, session.begin():
        session.execute(delete(Unplaced))
    for order in itertools.permutations(twins):
        with Session(engine) as session:
            hulls = KeptHulls()
            session.execute(update(Calculation).where(Calculation.id.in_(twins)).values(off_hull="not yet"))
            hulls.place(session, level_id, [*ids.values(), *twins])
            for key in order:
                session.execute(update(Calculation).where(Calculation.id == key).values(off_hull=None))
                hulls.place(session, level_id, [key])
            rows = {
                row.calculation_id: row
                for row in session.scalars(select(HullState).where(HullState.valid_to.is_(None)))
            }
            assert [rows[key].is_stable for key in twins] == [True, False, False]
            assert [rows[key].e_above_hull for key in twins] == [0.0, 0.0, 0.0]
            assert [rows[key].decomposition_energy for key in twins] == [0.0, 0.0, 0.0]
            assert place(session, level_id).changed == 0
            session.rollback()


def test_an_entry_on_the_line_between_two_others_is_stable(engine: Engine, level_id: int):
    between = OXIDES["FeO"] + OXIDES["Fe"]
    ids = {formula: label(engine, level_id, formula, energy) for formula, energy in OXIDES.items()}
    ids["Fe2O"] = label(engine, level_id, "Fe2O", between)
    catch_up(engine, level_id, KeptHulls())
    found = states(engine)[ids["Fe2O"]]
    assert (found.is_stable, found.e_above_hull) == (True, 0.0)
    assert found.decomposition_energy == pytest.approx(0.0, abs=EXACT)


def test_one_entry_corrected_then_withdrawn_then_back(engine: Engine, level_id: int):
    hulls = KeptHulls()
    ids = {formula: label(engine, level_id, formula, energy) for formula, energy in OXIDES.items()}
    catch_up(engine, level_id, hulls)
    entries = {ids[formula]: (formula, energy) for formula, energy in OXIDES.items()}
    oxide = ids["Fe2O3"]
    for correction in (-0.5, 4.0, 0.0):
        change(engine, oxide, correction=correction)
        catch_up(engine, level_id, hulls)
        assert_as_pymatgen(engine, {**entries, oxide: ("Fe2O3", OXIDES["Fe2O3"] + correction)})
    change(engine, oxide, off_hull="withdrawn")
    catch_up(engine, level_id, hulls)
    assert_as_pymatgen(engine, {key: one for key, one in entries.items() if key != oxide})
    change(engine, oxide, off_hull=None)
    catch_up(engine, level_id, hulls)
    assert_as_pymatgen(engine, entries)
    assert_rebuilt_equal(engine, level_id)


def by_linprog(entry: Entry, others: Sequence[Entry]) -> float:
    """The energy of the hull of `others` at the composition of `entry`, eV/atom."""
    numbers = sorted(entry.amounts)
    usable = [one for one in others if one.amounts.keys() <= entry.amounts.keys()]
    shares = np.array([[one.amounts.get(z, 0) / sum(one.amounts.values()) for one in usable] for z in numbers])
    wanted = [entry.amounts[z] / sum(entry.amounts.values()) for z in numbers]
    found = linprog([one.formation_energy for one in usable], A_eq=shares, b_eq=wanted, method="highs")
    return float(found.fun)


@pytest.mark.parametrize("size", [7, 8, 9])
def test_seven_to_nine_elements_as_by_a_linear_program(size: int):
    rng = np.random.default_rng(size)
    numbers = sorted(rng.choice(np.arange(1, 95), size, replace=False).tolist())
    entries = [Entry(z, {z: 1}, float(rng.normal())) for z in numbers]
    for key in range(1000, 1060):
        among = rng.choice(numbers, rng.integers(2, 6), replace=False).tolist()
        entries.append(Entry(key, {z: int(rng.integers(1, 5)) for z in among}, float(rng.uniform(-3, 0))))
    entries += [Entry(key, {z: int(rng.integers(1, 5)) for z in numbers}, -0.5) for key in range(2000, 2005)]
    solved = compute_hull(entries)
    for entry in entries[size:]:
        result, others = solved[entry.key], [one for one in entries if one is not entry]
        assert result.decomposition_energy == pytest.approx(
            entry.formation_energy - by_linprog(entry, others), abs=EXACT
        )
        assert result.e_above_hull == pytest.approx(entry.formation_energy - by_linprog(entry, entries), abs=EXACT)


def test_nine_elements_through_the_database(engine: Engine, level_id: int):
    formulas = [
        "Li",
        "O",
        "Na",
        "Mg",
        "Al",
        "Si",
        "P",
        "S",
        "Fe",
        "Li2O",
        "MgO",
        "Al2O3",
        "FeS",
        "SiO2",
        "NaLiMgAlSiPSFeO9",
    ]
    energies = [sum(formula_amounts(one).values()) * -(2.0 + index / 10) for index, one in enumerate(formulas)]
    entries = {
        label(engine, level_id, one, energy): (one, energy) for one, energy in zip(formulas, energies, strict=True)
    }
    catch_up(engine, level_id, KeptHulls())
    assert_as_pymatgen(engine, entries)


def test_cells_of_two_hundred_sites(engine: Engine, level_id: int):
    hulls = KeptHulls()
    entries = {label(engine, level_id, formula, energy): (formula, energy) for formula, energy in OXIDES.items()}
    catch_up(engine, level_id, hulls)
    big = {"Li133O67": -955.0, "Li46Fe53O101": -1310.0}
    entries |= {label(engine, level_id, formula, energy): (formula, energy) for formula, energy in big.items()}
    catch_up(engine, level_id, hulls)
    assert_as_pymatgen(engine, entries)
    found = states(engine)
    for key in entries:
        assert sum(float(str(one["amount"])) for one in found[key].decomposition) == pytest.approx(1.0)


@pytest.mark.parametrize("energy", [1e6, -1e6, float("nan"), float("inf")])
def test_the_database_takes_no_absurd_energy(engine: Engine, level_id: int, energy: float):
    with pytest.raises(Exception, match="ck_calculation_energy_finite"):
        label(engine, level_id, "Li", energy)


def test_other_references_are_another_hull(engine: Engine):
    """Whoever changes a level's table by hand: the next placing, of whatever entry, heals all states."""
    with Session(engine) as session, session.begin():
        key = make.level(session, "fixed", references={"Na": -1.0, "Cl": -2.0}).id
    hulls = KeptHulls()
    salt = label(engine, key, "NaCl", -5.0)
    catch_up(engine, key, hulls)
    assert states(engine)[salt].formation_energy_per_atom == pytest.approx(-1.0)
    with Session(engine) as session, session.begin():
        session.execute(update(Level).where(Level.id == key).values(references={"Na": -1.5, "Cl": -2.0}))
    label(engine, key, "NaCl3", -7.0)
    catch_up(engine, key, hulls)
    assert states(engine)[salt].formation_energy_per_atom == pytest.approx(-0.75)
    assert_rebuilt_equal(engine, key)


def test_gases_from_a_table_beside_computed_solids(engine: Engine):
    """Oxygen stands in for itself; sodium is its lowest entry, and a lower one moves what holds it."""
    with Session(engine) as session, session.begin():
        key = make.level(session, "gases", references={"O": -5.0}, tabulated=["O"]).id
    hulls = KeptHulls()
    oxide = label(engine, key, "Na2O", -12.0)
    assert "no reference energy for Na" in str(catch_up(engine, key, hulls).refused[oxide])
    label(engine, key, "Na", -1.3)
    catch_up(engine, key, hulls)
    assert states(engine)[oxide].formation_energy_per_atom == pytest.approx((-12.0 + 5.0 + 2.6) / 3)
    label(engine, key, "Na", -1.4)
    catch_up(engine, key, hulls)
    found = states(engine)[oxide]
    assert found.formation_energy_per_atom == pytest.approx((-12.0 + 5.0 + 2.8) / 3)
    assert found.decomposition[0]["calculation_id"] == oxide
    assert_rebuilt_equal(engine, key)
