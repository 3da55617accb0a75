"""Rows for tests: each builder fills in what a test doesn't care about, and flushes, so that ids are there."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import models
from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS, element_bits
from registry.identity.composition import Composition as Formula
from registry.identity.public_id import public_id
from registry.models import Base
from registry.query.values import formula_amounts

Row = TypeVar("Row", bound=Base)

_numbers = itertools.count(1)


def added(session: Session, row: Row) -> Row:
    session.add(row)
    session.flush()
    return row


def level_bridge(session: Session, before: models.Level, after: models.Level, **columns: Any) -> models.LevelBridge:
    """What is said of a fitted one."""
    defaults: dict[str, Any] = {
        "coefficients": {"ridge": 0.1},
        "residuals": {"held_out": {"n": 3, "mean": 0.0, "std": 0.01, "mae": 0.01}},
        "rows": 3,
        "data_hash": "0" * 64,
        "code_version": "0",
        "sha256": "1" * 64,
    }
    ids = {"from_level_id": before.id, "to_level_id": after.id}
    return added(session, models.LevelBridge(**{**ids, **defaults, **columns}))


def source(session: Session, name: str = "test", **columns: Any) -> models.Source:
    found = session.scalar(select(models.Source).where(models.Source.name == name))
    return found or added(session, models.Source(name=name, **{"licence": "CC0-1.0", "citation": "none", **columns}))


def composition(session: Session, formula: str) -> models.Composition:
    """The row of a formula such as "Li2O"; atoms are those of the reduced formula."""
    formula_of = Formula.of({ATOMIC_NUMBERS[one]: count for one, count in formula_amounts(formula).items()})
    name = formula_of.reduced_formula
    found = session.scalar(select(models.Composition).where(models.Composition.reduced_formula == name))
    if found:
        return found
    row = models.Composition(
        reduced_formula=name,
        anonymous_formula=formula_of.anonymous_formula,
        chemsys=formula_of.chemsys,
        elements=list(formula_of.elements),
        amounts=[formula_of.reduced[ATOMIC_NUMBERS[one]] for one in formula_of.elements],
        nelements=formula_of.nelements,
    )
    return added(session, row)


def prototype(session: Session, label: str = "AB_cF8_225_a_b") -> models.Prototype:
    """The row of a label; Pearson symbol and space group are read from it."""
    found = session.scalar(select(models.Prototype).where(models.Prototype.label == label))
    if found:
        return found
    _, pearson, number, *_ = label.split("_")
    return added(session, models.Prototype(label=label, pearson_symbol=pearson, spacegroup_number=int(number)))


def crystal(formula: str) -> Crystal:
    """Atoms of one formula unit on a line in a cube; no two calls give the same arrays."""
    numbers = [ATOMIC_NUMBERS[one] for one, count in formula_amounts(formula).items() for _ in range(count)]
    edge = 3.0 * len(numbers) + 1e-6 * next(_numbers)
    return Crystal(np.eye(3) * edge, np.array(numbers), np.outer(np.arange(len(numbers)), [1 / len(numbers), 0, 0]))


def structure(
    session: Session,
    formula: str = "NaCl",
    *,
    origin: str = "imported",
    label: str | None = None,
    arrays: Crystal | None = None,
    external_ids: dict[str, str] | None = None,
    source_name: str = "test",
    **columns: Any,
) -> models.Structure:
    """A crystal of that formula; `label` is its prototype's."""
    cell, made_of = arrays or crystal(formula), composition(session, formula)
    row = models.Structure(
        public_id=public_id(cell),
        composition_id=made_of.id,
        chemsys=made_of.chemsys,
        prototype_id=prototype(session, label).id if label else None,
        source_id=source(session, source_name).id,
        origin=origin,
        nsites=cell.nsites,
        lattice=cell.lattice.ravel().tolist(),
        species=cell.numbers.tolist(),
        coords=np.ascontiguousarray(cell.frac_coords, dtype="<f8").tobytes(),
        volume=cell.volume,
        **columns,
    )
    added(session, row)
    session.add_all(
        models.ExternalId(structure_id=row.id, scheme=scheme, value=value)
        for scheme, value in (external_ids or {}).items()
    )
    session.flush()
    return row


def level(session: Session, name: str = "test-level", **columns: Any) -> models.Level:
    found = session.scalar(select(models.Level).where(models.Level.name == name))
    defaults: dict[str, Any] = {
        "engine": "stand-in",
        "functional": "PBE",
        "correction_scheme": "none",
        "settings": {},
        "references": {},
        "tabulated": [],
        "note": "",
        "settings_hash": name,
    }
    return found or added(session, models.Level(name=name, **{**defaults, **columns}))


def calculation(
    session: Session,
    initial: models.Structure,
    at: models.Level,
    *,
    energy: float | None = None,
    label: str | None = None,
    **columns: Any,
) -> models.Calculation:
    """A converged relaxation to a structure of its own (`label`: that one's prototype); energy in eV per cell."""
    formula = session.get_one(models.Composition, initial.composition_id).reduced_formula
    final = columns.pop("final", None) or structure(session, formula, origin="relaxed", label=label)
    defaults: dict[str, Any] = {
        "task": "relax",
        "state": "converged",
        "energy": -3.0 * initial.nsites if energy is None else energy,
        "correction": 0.0,
        "final_structure_id": final.id,
        "source_id": initial.source_id,
        **_attempt(),
    }
    row = models.Calculation(initial_structure_id=initial.id, level_id=at.id, **{**defaults, **columns})
    return added(session, row)


def failure(
    session: Session, initial: models.Structure, at: models.Level, error_class: str = "bug", **columns: Any
) -> models.Calculation:
    """An attempt that failed."""
    failed = {
        "task": "relax",
        "state": "failed",
        "error_class": error_class,
        "error": "it broke",
        "source_id": initial.source_id,
        **_attempt(),
    }
    row = models.Calculation(initial_structure_id=initial.id, level_id=at.id, **{**failed, **columns})
    return added(session, row)


def _attempt() -> dict[str, Any]:
    return {"settings": {}, "engine_version": "0", "attempt": 1, "node": "here", "wall_seconds": 1.0}


def hull_state(
    session: Session, placed: models.Calculation, e_above_hull: float = 0.0, **columns: Any
) -> models.HullState:
    """The present place of a calculation; give valid_from and valid_to for a former one."""
    defaults: dict[str, Any] = {
        "formation_energy_per_atom": -1.0 + e_above_hull,
        "decomposition_energy": e_above_hull or -0.1,
        "phase_separation_energy": e_above_hull or -0.2,
        "is_stable": e_above_hull == 0,
        "decomposition": [],
        "valid_from": datetime.now(UTC),
    }
    initial = session.get_one(models.Structure, placed.initial_structure_id)
    final = session.get_one(models.Structure, placed.final_structure_id)
    elements = initial.chemsys.split("-")
    light, heavy = element_bits(elements)
    ids = {
        "calculation_id": placed.id,
        "level_id": placed.level_id,
        "structure_id": initial.id,
        "composition_id": initial.composition_id,
        "prototype_id": final.prototype_id or initial.prototype_id,
        "chemsys": initial.chemsys,
        "nelements": len(elements),
        "light_elements": light,
        "heavy_elements": heavy,
    }
    return added(session, models.HullState(**{**ids, **defaults, **columns}, e_above_hull=e_above_hull))


def material(
    session: Session,
    formula: str = "NaCl",
    e_above_hull: float | None = 0.0,
    at: models.Level | None = None,
    **columns: Any,
) -> models.Structure:
    """A structure with a label and a place on the hull; None leaves it unlabelled."""
    row = structure(session, formula, **columns)
    if e_above_hull is not None:
        hull_state(session, calculation(session, row, at or level(session)), e_above_hull)
    return row


def model(session: Session, at: models.Level, name: str = "test-model", **columns: Any) -> models.Model:
    told = {"rows": 10, "level_id": at.id, "excluded_formulas": [], "split": "formula", "parts": []}
    learnt = models.TrainingSet(name=name, sha256=f"set of {name}", **told)
    added(session, learnt)
    defaults: dict[str, Any] = {
        "training_set_id": learnt.id,
        "code_version": "0",
        "checkpoint_sha256": "0" * 64,
        "members": 3,
        "metrics": {"mae": 0.05},
        "promoted": True,
    }
    return added(session, models.Model(name=name, level_id=at.id, **{**defaults, **columns}))


def prediction(
    session: Session, of: models.Structure, by: models.Model, energy: float = -1.0, **columns: Any
) -> models.Prediction:
    """What the whole ensemble said, eV/atom."""
    defaults: dict[str, Any] = {
        "stage": "ensemble",
        "spread": 0.02,
        "members": [energy - 0.01, energy, energy + 0.01],
        "volume_factor": 1.0,
    }
    ids = {"structure_id": of.id, "model_id": by.id}
    return added(session, models.Prediction(**ids, formation_energy_per_atom=energy, **{**defaults, **columns}))


def campaign(session: Session, at: models.Level, name: str = "test-campaign") -> models.Campaign:
    return added(session, models.Campaign(name=name, level_id=at.id))


def campaign_round(session: Session, of: models.Campaign, number: int = 1) -> models.Round:
    return added(session, models.Round(campaign_id=of.id, number=number, settings={}))


def selection(
    session: Session, of: models.Structure, turn: models.Round, by: models.Model, **columns: Any
) -> models.Selection:
    """A candidate picked for a label at the model's level."""
    defaults: dict[str, Any] = {"purpose": "label", "rank": 1, "predicted_decomposition_energy": -0.05}
    ids = {"structure_id": of.id, "round_id": turn.id, "model_id": by.id, "level_id": by.level_id}
    return added(session, models.Selection(**ids, **{**defaults, **columns}))


def child(
    session: Session, parent: models.Structure, formula: str = "KCl", operation: str = "ionic_substitution"
) -> models.Structure:
    """A candidate made from a parent."""
    row = structure(session, formula, origin="generated")
    lineage(session, row, parent, operation, to=formula)
    return row


def lineage(
    session: Session,
    of: models.Structure,
    parent: models.Structure,
    operation: str = "ionic_substitution",
    **arguments: str,
) -> models.Lineage:
    ids = {"child_id": of.id, "parent_id": parent.id}
    return added(session, models.Lineage(**ids, operation=operation, arguments=arguments, probability=0.1))


def search(session: Session, formula: str, at: models.Level, **columns: Any) -> models.Search:
    """A composition whose structure is looked for at a level."""
    defaults: dict[str, Any] = {"asked_by": "test", "structures": 100, "seed": 0, "settings": {}}
    ids = {"composition_id": composition(session, formula).id, "level_id": at.id}
    return added(session, models.Search(**ids, **{**defaults, **columns}))


def random_structure(session: Session, of: models.Search) -> models.Structure:
    """One of a search, picked for a label."""
    formula = session.get_one(models.Composition, of.composition_id).reduced_formula
    row = structure(session, formula, origin="generated")
    arguments = {"seed": of.seed, "index": row.id}
    added(session, models.Lineage(child_id=row.id, parent_id=None, operation="random_search", arguments=arguments))
    ids = {"search_id": of.id, "structure_id": row.id, "level_id": of.level_id}
    added(session, models.Selection(**ids, purpose="label", rank=1))
    return row


def duplicate(session: Session, of: models.Structure, same_as: models.Structure) -> models.Duplicate:
    return added(session, models.Duplicate(structure_id=of.id, same_as_id=same_as.id, rule="test"))


def property_of(
    session: Session,
    of: models.Structure,
    name: str,
    value: float | None,
    method: str,
    unit: str = "eV",
    **columns: Any,
) -> models.Property:
    told = {"name": name, "value": value, "unit": unit, "method": method, "source_id": of.source_id}
    return added(session, models.Property(structure_id=of.id, **{**told, **columns}))


def family_member(session: Session, of: models.Structure, label: str) -> models.FamilyMember:
    """Puts a structure into a family, which is made."""
    columns = {"label": label, "mixed": ["Li", "Na"], "spacegroup_number": 225, "rule": "test"}
    family = added(session, models.Family(composition_id=of.composition_id, **columns))
    return added(session, models.FamilyMember(structure_id=of.id, family_id=family.id))


def worker(session: Session, kinds: tuple[str, ...] = ("label",)) -> models.Worker:
    return added(session, models.Worker(kinds=list(kinds), host="here", pid=1))


def work(session: Session, kind: str = "label", state: str = "waiting", **columns: Any) -> models.Work:
    """One row of work; a running one holds a lease, a dead one says why."""
    extra: dict[str, Any] = {
        "running": {"token": uuid.uuid4(), "lease_until": datetime.now(UTC) + timedelta(minutes=1)},
        "dead": {"error_class": "bug", "error": "it broke"},
    }.get(state, {})
    ids = {"subject_id": next(_numbers), "target_id": 1, "priority": 0, "run_after": datetime.now(UTC)}
    return added(session, models.Work(kind=kind, state=state, **{**ids, **extra, **columns}))
