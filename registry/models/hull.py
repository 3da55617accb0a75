"""Where entries stand on the convex hull of their level, since when, and who displaced whom."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Moment, Now, SymbolText

Floating = DOUBLE_PRECISION
CURRENT = text("valid_to IS NULL")


class HullState(Base):
    """The place of one entry, valid from `valid_from` until `valid_to` (null: still).

    What of a crystal the hull is searched by stands here once more, so that one index finds a page in its order.
    """

    __tablename__ = "hull_state"
    __table_args__ = (
        ForeignKeyConstraint(["calculation_id", "level_id"], ["calculation.id", "calculation.level_id"]),
        CheckConstraint("e_above_hull >= 0 AND e_above_hull < 'Infinity'", name="above_hull"),  # NaN is above all
        CheckConstraint("abs(formation_energy_per_atom) < 'Infinity'", name="formation_energy_finite"),
        CheckConstraint("NOT is_stable OR e_above_hull = 0", name="stable_on_hull"),
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="validity_ordered"),
        Index("uq_hull_state_current", "calculation_id", unique=True, postgresql_where=CURRENT),
        Index(
            "ix_hull_state_current_energy",
            *("level_id", "e_above_hull", "structure_id"),
            postgresql_where=CURRENT,
            postgresql_include=["light_elements", "heavy_elements", "prototype_id", "nelements", "is_stable"],
        ),
        Index(
            "ix_hull_state_current_chemsys",
            *("chemsys", "level_id", "e_above_hull", "structure_id"),
            postgresql_where=CURRENT,
        ),
        Index(
            "ix_hull_state_current_prototype",
            *("prototype_id", "level_id", "e_above_hull", "structure_id"),
            postgresql_where=CURRENT,
        ),
        Index(None, "structure_id", "level_id", "valid_from"),
        Index(None, "calculation_id", "valid_from"),
    )

    id: Mapped[Id]
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    calculation_id: Mapped[int]
    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"), comment="the calculation's initial structure")
    composition_id: Mapped[int] = mapped_column(ForeignKey("composition.id"))
    prototype_id: Mapped[int | None] = mapped_column(
        ForeignKey("prototype.id"), comment="of the relaxed crystal, where it has one"
    )
    chemsys: Mapped[SymbolText] = mapped_column(comment="its composition's")
    nelements: Mapped[int] = mapped_column(SmallInteger)
    light_elements: Mapped[int] = mapped_column(comment="bit Z - 1 is set for each element it holds of Z up to 60")
    heavy_elements: Mapped[int] = mapped_column(comment="bit Z - 61, for the others")
    formation_energy_per_atom: Mapped[float] = mapped_column(Floating, comment="eV/atom")
    e_above_hull: Mapped[float] = mapped_column(Floating, comment="eV/atom, hull with the entry")
    decomposition_energy: Mapped[float | None] = mapped_column(
        Floating, comment="eV/atom, against all other entries; null where nothing else spans the composition"
    )
    phase_separation_energy: Mapped[float | None] = mapped_column(
        Floating, comment="eV/atom, against the hull without its composition"
    )
    is_stable: Mapped[bool]
    decomposition: Mapped[list[dict[str, object]]] = mapped_column(
        JSONB, comment="[{calculation_id, reduced_formula, amount}]; amount = share of the atoms"
    )
    valid_from: Mapped[Moment]
    valid_to: Mapped[datetime | None]


class HullEvent(Base):
    """An entry that took another's place on the hull. `displaced` fell `fell_by` eV/atom above it."""

    __tablename__ = "hull_event"
    __table_args__ = (
        ForeignKeyConstraint(["calculation_id", "level_id"], ["calculation.id", "calculation.level_id"]),
        ForeignKeyConstraint(["displaced_calculation_id", "level_id"], ["calculation.id", "calculation.level_id"]),
        CheckConstraint("fell_by >= 0 AND fell_by < 'Infinity'", name="fell_by_finite"),
        CheckConstraint("calculation_id <> displaced_calculation_id", name="two_entries"),
        Index(None, "displaced_calculation_id"),
        Index(None, "calculation_id"),
    )

    id: Mapped[Id]
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    calculation_id: Mapped[int]
    displaced_calculation_id: Mapped[int]
    fell_by: Mapped[float] = mapped_column(Floating, comment="eV/atom")
    at: Mapped[Now]


class Unplaced(Base):
    """An entry that came, went or moved since the hull of its level was looked at, noted by a trigger on calculation.

    Rows turn into claims of kind place; the hull as of now is that of all entries once both are gone.
    """

    __tablename__ = "unplaced"

    id: Mapped[Id]
    calculation_id: Mapped[int] = mapped_column(comment="may be gone, or no entry (any more)")
    level_id: Mapped[int]


class Placement(Base):
    """One bringing up to date of a level's hull states; from these, hulls kept in memory catch up."""

    __tablename__ = "placement"
    __table_args__ = (
        CheckConstraint('(calculation_ids IS NULL) = ("references" IS NOT NULL)', name="whole_says_references"),
        Index(None, "level_id", "id"),
    )

    id: Mapped[Id]
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    calculation_ids: Mapped[list[int] | None] = mapped_column(
        ARRAY(BigInteger), comment="entries that came, went or moved; null: the whole level was solved anew"
    )
    references: Mapped[Json | None] = mapped_column(
        comment="of a whole level: element -> eV/atom, what formation energies are against from now on"
    )
    at: Mapped[Now]
