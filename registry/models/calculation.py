"""Levels of theory, and every attempt at an energy."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Now, one_of
from registry.states import CalculationState, ErrorClass, Task

Floating = DOUBLE_PRECISION


class Level(Base):
    """Functional, settings, correction scheme and element references. Energies of two levels never meet."""

    __tablename__ = "level"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    engine: Mapped[str]
    functional: Mapped[str]
    correction_scheme: Mapped[str]
    settings: Mapped[Json]
    references: Mapped[Json] = mapped_column(comment="element -> eV/atom")
    tabulated: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="elements whose reference is from the literature")
    note: Mapped[str]
    settings_hash: Mapped[str]
    created_at: Mapped[Now]


class ReferenceSet(Base):
    """Imported energies that compete at another level too, since the two levels agree.

    Their calculations stand at that level once more, with the source they came from, and name this row.
    """

    __tablename__ = "reference_set"
    __table_args__ = (
        CheckConstraint("level_id <> from_level_id", name="two_levels"),
        UniqueConstraint("level_id", "from_level_id"),
    )

    id: Mapped[Id]
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"), comment="where they compete")
    from_level_id: Mapped[int] = mapped_column(ForeignKey("level.id"), comment="the imported level that they are of")
    compared: Mapped[Json] = mapped_column(
        comment="what was found to agree: functional, pseudopotentials, hubbards, correction_scheme, entries, apart"
    )
    compared_at: Mapped[Now]


class Calculation(Base):
    """One attempt to label a structure at a level. The raw energy and its correction stand side by side.

    A structure has at most one converged calculation at a level: the level says what a label is.
    """

    __tablename__ = "calculation"
    __table_args__ = (
        one_of("task", Task),
        one_of("state", CalculationState),
        one_of("error_class", ErrorClass),
        CheckConstraint(
            "(state = 'converged') = (energy IS NOT NULL AND final_structure_id IS NOT NULL)",
            name="converged_has_result",
        ),
        CheckConstraint("(state = 'failed') = (error_class IS NOT NULL)", name="failed_has_class"),
        CheckConstraint("energy = energy AND abs(energy) < 1e6", name="energy_finite"),
        CheckConstraint("abs(correction) < 1e6", name="correction_finite"),
        CheckConstraint("octet_length(forces) > 0 AND octet_length(forces) % 24 = 0", name="forces_of_sites"),
        CheckConstraint("cardinality(stress) = 6", name="stress_voigt"),
        CheckConstraint("attempt > 0", name="attempt_counted"),
        CheckConstraint("gap >= 0 AND gap < 100", name="gap_plausible"),
        CheckConstraint(
            "(energy IS NULL) OR (correction IS NOT NULL) OR (off_hull IS NOT NULL)", name="off_hull_says_why"
        ),
        UniqueConstraint("id", "level_id"),
        Index(
            "uq_calculation_result",
            "initial_structure_id",
            "level_id",
            unique=True,
            postgresql_where=text("state = 'converged'"),
            postgresql_include=["final_structure_id"],
        ),
        Index("ix_calculation_failed", "initial_structure_id", "level_id", postgresql_where=text("state = 'failed'")),
        Index(None, "final_structure_id"),
        Index(None, "level_id", "id"),
        Index(None, "reference_set_id", postgresql_where=text("reference_set_id IS NOT NULL")),
    )

    id: Mapped[Id]
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id"), comment="where the energy came from")
    reference_set_id: Mapped[int | None] = mapped_column(
        ForeignKey("reference_set.id"), comment="the set that brought it to this level from where it was imported"
    )
    initial_structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    final_structure_id: Mapped[int | None] = mapped_column(ForeignKey("structure.id"))
    task: Mapped[str]
    state: Mapped[str]
    energy: Mapped[float | None] = mapped_column(Floating, comment="eV per cell, raw")
    correction: Mapped[float | None] = mapped_column(Floating, comment="eV per cell, added to the raw energy")
    correction_parts: Mapped[Json | None]
    off_hull: Mapped[str | None] = mapped_column(comment="why this energy may not stand on a hull")
    forces: Mapped[bytes | None] = mapped_column(LargeBinary, comment="eV/angstrom, float64, nsites x 3, final frame")
    stress: Mapped[list[float] | None] = mapped_column(
        ARRAY(Floating), comment="eV/angstrom^3, Voigt xx yy zz yz xz xy"
    )
    steps: Mapped[int | None] = mapped_column(Integer)
    settings: Mapped[Json]
    settings_hash: Mapped[str] = mapped_column(Computed("md5(settings::text)", persisted=True))
    changes: Mapped[Json] = mapped_column(
        server_default=text("'{}'"), comment="what this attempt did otherwise than the settings say"
    )
    engine_version: Mapped[str]
    attempt: Mapped[int] = mapped_column(Integer)
    error_class: Mapped[str | None]
    error: Mapped[str | None]
    node: Mapped[str]
    wall_seconds: Mapped[float | None] = mapped_column(Floating)
    cpu_seconds: Mapped[float | None] = mapped_column(Floating)
    gap: Mapped[float | None] = mapped_column(Floating, comment="band gap, eV; 0 of a metal; null: the engine has none")
    convergence: Mapped[Json | None] = mapped_column(
        comment="how it is known to be converged: what was left, what was allowed"
    )
    datasets: Mapped[Json | None] = mapped_column(comment="element -> SHA-256 of its pseudopotential or dataset")
    signal: Mapped[str | None] = mapped_column(comment="what ended a failed attempt's program, as SIGSEGV")
    log_tail: Mapped[str | None] = mapped_column(comment="the last words of a failed attempt's program")
    finished_at: Mapped[Now]


class Frame(Base):
    """One step of a relaxation. The atoms are those of the calculation's initial structure, in its order.

    Partitioned by composition, as Citus would distribute it.
    """

    __tablename__ = "frame"
    __table_args__ = (
        CheckConstraint("cardinality(lattice) = 9", name="lattice_3x3"),
        CheckConstraint("octet_length(coords) = octet_length(forces)", name="forces_match"),
        CheckConstraint("octet_length(coords) > 0 AND octet_length(coords) % 24 = 0", name="coords_of_sites"),
        CheckConstraint("cardinality(stress) = 6", name="stress_voigt"),
        CheckConstraint("step >= 0", name="step_counted"),
        CheckConstraint("energy = energy AND abs(energy) < 1e6", name="energy_finite"),
        {"postgresql_partition_by": "HASH (composition_id)"},
    )

    composition_id: Mapped[int] = mapped_column(ForeignKey("composition.id"), primary_key=True)
    calculation_id: Mapped[int] = mapped_column(ForeignKey("calculation.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    lattice: Mapped[list[float]] = mapped_column(ARRAY(Floating), comment="rows, angstrom")
    coords: Mapped[bytes] = mapped_column(LargeBinary, comment="fractional, float64 little-endian, nsites x 3")
    energy: Mapped[float] = mapped_column(Floating, comment="eV per cell, raw")
    forces: Mapped[bytes] = mapped_column(LargeBinary, comment="eV/angstrom, float64, nsites x 3")
    stress: Mapped[list[float]] = mapped_column(ARRAY(Floating), comment="eV/angstrom^3, Voigt xx yy zz yz xz xy")
