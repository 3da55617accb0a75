"""Bridges between levels, and the registry: what both levels hold, what was fitted to it, what goes over it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch, NotFound
from registry.hull.level_rows import level_id
from registry.models import Level, LevelBridge

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.graph import CrystalLike
    from predictors.model_files import ModelFiles
    from predictors.predictor import Predictor

COEFFICIENTS = ("elements", "anions", "crystals", "ridge")
BOTH = """
SELECT composition.reduced_formula AS formula, one.formation_energy_per_atom AS before,
       other.formation_energy_per_atom AS after
FROM hull_state AS one
JOIN hull_state AS other ON other.structure_id = one.structure_id AND other.level_id = :after AND other.valid_to IS NULL
JOIN composition ON composition.id = one.composition_id
WHERE one.level_id = :before AND one.valid_to IS NULL
ORDER BY one.structure_id"""


def energies_of_both(session: Session, from_level: str, to_level: str) -> Sequence[sa.Row[Any]]:
    """(formula, before, after) of every crystal that both levels have on their hulls, eV/atom. Raises NotFound."""
    levels = {"before": level_id(session, from_level), "after": level_id(session, to_level)}
    return session.execute(sa.text(BOTH), levels).all()


def store_bridge(session: Session, bridge: Bridge) -> bool:
    """Keep a bridge; False where this very one is kept. Raises NotFound for a level that isn't in the registry."""
    values = {
        "from_level_id": level_id(session, bridge.from_level),
        "to_level_id": level_id(session, bridge.to_level),
        "coefficients": {name: getattr(bridge, name) for name in COEFFICIENTS},
        "residuals": bridge.residuals,
        "rows": bridge.rows,
        "data_hash": bridge.data_hash,
        "code_version": bridge.code_version,
        "sha256": bridge.sha256,
    }
    stored = session.execute(insert(LevelBridge).values(**values).on_conflict_do_nothing().returning(LevelBridge.id))
    return stored.scalar_one_or_none() is not None


def stored_bridge(session: Session, from_level: str, to_level: str) -> Bridge:
    """The last one fitted between two levels. Raises NotFound; BadCheckpoint if the row isn't what was stored."""
    from predictors.bridge import Bridge
    from predictors.errors import BadCheckpoint

    ends = {"from_level_id": level_id(session, from_level), "to_level_id": level_id(session, to_level)}
    row = session.scalars(sa.select(LevelBridge).filter_by(**ends).order_by(LevelBridge.id.desc()).limit(1)).first()
    if row is None:
        raise NotFound(f"no bridge from '{from_level}' to '{to_level}': fit one with `{_fit(from_level, to_level)}`")
    told = {name: getattr(row, name) for name in ("residuals", "rows", "data_hash", "code_version")}
    try:
        bridge = Bridge(from_level, to_level, **{str(name): value for name, value in row.coefficients.items()}, **told)  # type: ignore[arg-type]
    except TypeError as error:
        raise BadCheckpoint(f"the stored bridge from {from_level} to {to_level} can't be read: {error}") from error
    if bridge.sha256 != row.sha256:
        raise BadCheckpoint(f"the stored bridge from {from_level} to {to_level} isn't what was stored: fit it again")
    return bridge


def bridge_to(session: Session, model: ModelFiles, level: str) -> Bridge:
    """What leads from a model's level to another. Raises LevelMismatch naming the command that fits one, NotFound for a
    level that isn't in the registry, BadCheckpoint."""
    level_id(session, level)
    of = model.record().level
    try:
        return stored_bridge(session, of, level)
    except NotFound as missing:
        raise LevelMismatch(
            f"model '{model.name}' predicts at level '{of}', and no bridge leads from there to '{level}': "
            f"fit one with `{_fit(of, level)}`"
        ) from missing


def _fit(from_level: str, to_level: str) -> str:
    """The command that fits a bridge."""
    return f"lode level bridge fit --from {shlex.quote(from_level)} --to {shlex.quote(to_level)}"


def over(predictor: Predictor, bridge: Bridge | None) -> Predictor:
    """The predictor, at the level that the bridge leads to."""
    from predictors.bridge import Bridged

    return predictor if bridge is None else Bridged(predictor, bridge)


def say_bridge(row: dict[str, Any], crystal: CrystalLike, bridge: Bridge | None) -> None:
    """Which one an energy went over and what that is off by; a flag where the crystal lies outside of its fit."""
    from predictors.compositions import amounts_in

    if bridge is None:
        return
    amounts = amounts_in(crystal)
    row["bridge"] = bridge.told(amounts)
    if bridge.outside(amounts):
        row["flags"].append(bridge.flag(amounts))


def bridges(session: Session) -> list[dict[str, Any]]:
    """Every bridge, the last of each pair of levels first; residuals in eV/atom."""
    from predictors.bridge import DIGITS

    before, after = sa.orm.aliased(Level), sa.orm.aliased(Level)
    columns = (LevelBridge.rows, LevelBridge.residuals, LevelBridge.code_version, LevelBridge.created_at)
    found = (
        sa.select(before.name.label("from"), after.name.label("to"), *columns, LevelBridge.sha256)
        .join(before, before.id == LevelBridge.from_level_id)
        .join(after, after.id == LevelBridge.to_level_id)
        .order_by(before.name, after.name, LevelBridge.id.desc())
    )
    return [{**row, "name": row["sha256"][:DIGITS]} for row in session.execute(found).mappings()]
