"""The model that ships, on real crystals against a real registry: where a crystal stands that nobody stored."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from predictors.model_files import ModelFiles
from registry import models
from registry.crystal import Crystal
from registry.errors import BadRecord, LevelMismatch
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level, load_level
from registry.hull.store import place
from tests import factories as make
from tests.registry.test_nearest import brought, caesium_chloride, cubic, rock_salt
from workers.predict import known_of, predict_crystals
from workers.train import shipped_model

NAME = "7net-0"


@pytest.fixture(scope="module")
def model() -> ModelFiles:
    return ModelFiles.read(shipped_model(NAME))


def label(session: Session, crystal: Crystal, name: str, formation_energy: float, level: Level) -> models.Calculation:
    """The stored crystal, labelled as it stands; formation energy in eV/atom."""
    row = session.get_one(models.Structure, brought(session, **{name: crystal})[name])
    elements = -level.formation_energy(crystal.amounts, 0.0)
    energy = (formation_energy + elements) * crystal.nsites
    at = make.level(session, level.name)
    return make.calculation(session, row, at, energy=energy, final=row)


@pytest.fixture
def salts(session: Session) -> dict[str, models.Calculation]:
    """Labelled and placed: halite, its high-pressure form, a chloride of potassium."""
    level, level_id = load_level(NAME), ensure_level(session, load_level(NAME))
    labels = {
        "halite": label(session, rock_salt("Na", "Cl", 5.69), "halite", -2.09, level),
        "pressed": label(session, caesium_chloride("Na", "Cl", 3.5), "pressed", -1.9, level),
        "sylvite": label(session, rock_salt("K", "Cl", 6.3), "sylvite", -2.2, level),
    }
    place(session, level_id)
    return labels


def predicted(session: Session, model: ModelFiles, items: Sequence[Crystal | BadRecord]) -> list[dict[str, Any]]:
    crystals = [item for item in items if isinstance(item, Crystal)]
    return predict_crystals(items, model, known_of(session, crystals, NAME))


def formulas(row: dict[str, Any]) -> dict[str, float]:
    return {part["reduced_formula"]: part["amount"] for part in row["decomposition"]}


def test_a_stored_crystal_is_held_against_the_others(
    session: Session, salts: dict[str, models.Calculation], model: ModelFiles
):
    """Without its own label halite competes with its high-pressure form; that one with halite."""
    halite, pressed = predicted(session, model, [rock_salt("Na", "Cl", 5.7), caesium_chloride("Na", "Cl", 3.4)])
    assert halite["hull_without"] == [row["id"] for row in halite["nearest"] if row["relation"] == "same crystal"]
    assert len(halite["hull_without"]) == 1
    assert formulas(halite) == {"NaCl": pytest.approx(1)}
    assert halite["decomposition_energy"] == pytest.approx(halite["formation_energy_per_atom"] + 1.9)
    assert halite["decomposition_energy"] < -0.1
    assert halite["e_above_hull"] == 0
    assert pressed["decomposition_energy"] == pytest.approx(pressed["formation_energy_per_atom"] + 2.09)
    assert pressed["e_above_hull"] == pressed["decomposition_energy"] > 0
    assert [row["relation"] for row in pressed["nearest"]] == ["same crystal", "polymorph"]
    assert [row["e_above_hull"] for row in pressed["nearest"]] == [pytest.approx(0.19), 0]


def test_a_mixture_and_its_chemical_potentials(
    session: Session, salts: dict[str, models.Calculation], model: ModelFiles
):
    """NaKCl2 falls between both salts; the potentials add up to the hull's energy, and each salt to its own."""
    mixed = cubic("Fm-3m", 8.0, {"Na": (0, 0, 0), "K": (0.5, 0.5, 0.5), "Cl": (0.25, 0.25, 0.25)})
    (row,) = predicted(session, model, [mixed])
    assert row["hull_without"] == []
    assert formulas(row) == {"NaCl": pytest.approx(0.5), "KCl": pytest.approx(0.5)}
    potentials = row["chemical_potentials"]
    assert set(potentials) == {"Na", "K", "Cl"}
    assert potentials["Na"] + potentials["Cl"] == pytest.approx(2 * -2.09)
    assert potentials["K"] + potentials["Cl"] == pytest.approx(2 * -2.2)
    on_hull = (potentials["Na"] + potentials["K"] + 2 * potentials["Cl"]) / 4
    assert row["formation_energy_per_atom"] - on_hull == pytest.approx(row["decomposition_energy"])


def test_an_element_without_reference_is_named(session: Session, model: ModelFiles):
    """At a level whose references are entries of its own, of which chlorine's is missing."""
    at = make.level(session, NAME)
    sodium = cubic("Im-3m", 4.2, {"Na": (0, 0, 0)})
    row = session.get_one(models.Structure, brought(session, sodium=sodium)["sodium"])
    make.calculation(session, row, at, energy=-1.3 * row.nsites, final=row)
    salt, metal, other = predicted(
        session, model, [rock_salt("Na", "Cl"), sodium, cubic("Fm-3m", 5.3, {"Na": (0, 0, 0)})]
    )
    assert salt["formation_energy_per_atom"] < -1
    assert [salt[key] for key in ("e_above_hull", "decomposition_energy", "decomposition", "chemical_potentials")] == [
        None
    ] * 4
    assert salt["flags"] == [
        "no place on the hull: no reference energy for Cl: label these elements at this level first"
    ]
    assert metal["decomposition_energy"] is None
    assert metal["e_above_hull"] == max(metal["formation_energy_per_atom"], 0)
    assert metal["flags"] == ["decomposition_energy: the level has no other entry of this element"]
    assert other["decomposition_energy"] == other["formation_energy_per_atom"]


def test_bad_ones_among_good_keep_their_place(
    session: Session, salts: dict[str, models.Calculation], model: ModelFiles
):
    """What can't be read, what the model doesn't know, a thousand atoms: every row has the same keys."""
    halite = rock_salt("Na", "Cl", 5.69)
    thousand = Crystal.from_pymatgen(halite.to_pymatgen() * (5, 5, 5))
    rows = predicted(
        session,
        model,
        [BadRecord("a.cif:0", "no atoms"), rock_salt("Th", "Po"), thousand, BadRecord("b", "flat"), halite],
    )
    assert [row["index"] for row in rows] == list(range(5))
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
    assert (rows[0]["flags"], rows[3]["flags"]) == (["no atoms"], ["flat"])
    assert rows[1]["flags"] == ["radioactive", "the model never saw Po: train on data that hold it"]
    assert rows[1]["nearest"][0]["relation"] == "same prototype"
    assert [row["formation_energy_per_atom"] is None for row in rows] == [True, True, False, True, False]
    assert rows[2]["formation_energy_per_atom"] == pytest.approx(rows[4]["formation_energy_per_atom"], abs=1e-3)
    assert rows[2]["hull_without"] == rows[4]["hull_without"] != []


def test_without_a_registry_nothing_is_said_of_it(model: ModelFiles):
    (row,) = predict_crystals([rock_salt("Na", "Cl")], model, None)
    assert row["formation_energy_per_atom"] < -1
    assert (row["e_above_hull"], row["nearest"], row["flags"]) == (None, [], [])


def test_a_hull_of_another_level_is_refused(session: Session, model: ModelFiles):
    make.level(session, "theirs")
    salt = rock_salt("Na", "Cl")
    with pytest.raises(LevelMismatch, match="theirs"):
        predict_crystals([salt], model, known_of(session, [salt], "theirs"))


def test_only_what_lies_within_the_crystals_is_read(
    session: Session, salts: dict[str, models.Calculation], model: ModelFiles
):
    """Two million entries of other systems cost nothing."""
    known = known_of(session, [rock_salt("Na", "Cl")], NAME)
    keys = {entry.key for entry in known.level.entries if int(entry.key) > 0}
    assert keys == {salts["halite"].id, salts["pressed"].id}
