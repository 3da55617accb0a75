"""A small campaign, told as rows: what every view of schema `analytics` has something to say about.

before    rock salt NaCl is imported (twice, in other cells) and labelled; it's on the hull
round 1   KCl: stable. NaCl of another type: displaces rock salt. Na3Cl: above the hull. NaCl3: fails, then is
          labelled above the hull. NaCl2: fails. K3Cl: waits.
round 2   KCl of another type: displaces the find of round 1. One more NaCl: relaxes to that of round 1.
after     random search of KNaCl2: ten of twelve structures are relaxed, all above the hull
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import models
from registry.hull.store import place
from registry.query.values import formula_amounts
from tests import factories as make

LEVEL, CAMPAIGN = "7net-0", "salts"
REFERENCES = {"Na": -1.0, "Cl": -2.0, "K": -1.5}
ROCK_SALT, CSCL, ZINC_BLENDE = "AB_cF8_225_a_b", "AB_cP2_221_a_b", "AB_cF8_216_a_c"
PREDICTED_TOO_LOW_BY = 0.05  # eV/atom


@dataclass
class Salts:
    """The rows that tests ask about, by a name of their own."""

    session: Session
    level: models.Level
    model: models.Model
    rows: dict[str, models.Structure] = field(default_factory=dict)
    labels: dict[str, models.Calculation] = field(default_factory=dict)

    def label(self, name: str, formation_energy: float, version: str = "1", **columns: object) -> None:
        """A converged calculation of that formation energy in eV/atom, an hour after the predictions."""
        row = self.rows[name]
        composition = self.session.get_one(models.Composition, row.composition_id)
        amounts = formula_amounts(composition.reduced_formula)
        elements = sum(REFERENCES[element] * count for element, count in amounts.items())
        energy = elements + formation_energy * sum(amounts.values())
        after = datetime.now(UTC) + timedelta(hours=1)
        extra = {"engine_version": version, "finished_at": after, **columns}
        self.labels[name] = make.calculation(self.session, row, self.level, energy=energy, **extra)

    def pick(self, name: str, formula: str, turn: models.Round, rank: int, predicted: float) -> None:
        """A candidate, what one member and the ensemble said of it (eV/atom), and that a round picked it."""
        row = self.rows[name] = make.structure(self.session, formula, origin="generated")
        make.prediction(self.session, row, self.model, predicted + 0.1, stage="single", spread=None)
        make.prediction(self.session, row, self.model, predicted)
        make.selection(self.session, row, turn, self.model, rank=rank)

    def close(self, turn: models.Round) -> None:
        place(self.session, self.level.id)
        turn.finished_at = self.session.scalars(select(func.clock_timestamp())).one()
        self.session.flush()


def salts(session: Session) -> Salts:
    """Fill an empty registry."""
    level = make.level(session, LEVEL, references=REFERENCES)
    told = Salts(session, level, make.model(session, level))
    _import(told)
    campaign = make.campaign(session, level, CAMPAIGN)
    _first_round(told, make.campaign_round(session, campaign, 1))
    _second_round(told, make.campaign_round(session, campaign, 2))
    _search(told)
    return told


def _import(told: Salts) -> None:
    rock = told.rows["rock salt"] = make.structure(told.session, "NaCl", label=ROCK_SALT, source_name="textbook")
    again = told.rows["rock salt again"] = make.structure(told.session, "NaCl", label=ROCK_SALT)
    make.duplicate(told.session, again, rock)
    told.label("rock salt", -0.5, label=ROCK_SALT)
    place(told.session, told.level.id)


def _first_round(told: Salts, turn: models.Round) -> None:
    picks = {"KCl": -0.3, "NaCl": -0.8, "Na3Cl": 0.2, "NaCl3": 0.3, "NaCl2": 0.1, "K3Cl": 0.0}
    for rank, (formula, energy) in enumerate(picks.items(), 1):
        told.pick(formula, formula, turn, rank, energy - PREDICTED_TOO_LOW_BY)
    told.label("KCl", -0.3, label=ROCK_SALT)
    told.label("NaCl", -0.8, label=CSCL)
    told.label("Na3Cl", 0.2)
    for formula in ("NaCl3", "NaCl2"):
        make.failure(told.session, told.rows[formula], told.level, "geometry_exploded", engine_version="1")
    told.label("NaCl3", 0.3)
    told.session.add(models.Funnel(round_id=turn.id, stage="generate: charge", rule="unbalanced", candidates=7))
    told.close(turn)


def _second_round(told: Salts, turn: models.Round) -> None:
    told.pick("KCl again", "KCl", turn, 1, -0.4 - PREDICTED_TOO_LOW_BY)
    told.label("KCl again", -0.4, version="2", label=ZINC_BLENDE)
    told.pick("NaCl again", "NaCl", turn, 2, -0.8 - PREDICTED_TOO_LOW_BY)
    told.label("NaCl again", -0.8 - 1e-6, version="2", label=CSCL)  # lower by noise: the same crystal
    final = [
        told.session.get_one(models.Structure, told.labels[name].final_structure_id) for name in ("NaCl again", "NaCl")
    ]
    make.duplicate(told.session, *final)
    told.close(turn)


def _search(told: Salts) -> None:
    asked = make.search(told.session, "KNaCl2", told.level, structures=12)
    for number in range(12):
        name = f"random {number}"
        told.rows[name] = make.random_structure(told.session, asked)
        if number < 10:
            told.label(name, 0.3 - 0.01 * number, version="3")
    place(told.session, told.level.id)
