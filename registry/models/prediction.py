"""Models, what they were trained on, and what they said."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Now, one_of
from registry.states import Stage

Floating = DOUBLE_PRECISION


class TrainingSet(Base):
    """The rows that a model learnt from: a table by the hash of its values, less the rows of the excluded formulas.

    `lode model check` asks the queries of its parts again, and compares.
    """

    __tablename__ = "training_set"
    __table_args__ = (UniqueConstraint("sha256", "excluded_formulas", "split"),)

    id: Mapped[Id]
    name: Mapped[str]
    sha256: Mapped[str]
    rows: Mapped[int] = mapped_column(Integer, comment="without those of excluded formulas")
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    excluded_formulas: Mapped[list[str]] = mapped_column(ARRAY(Text))
    split: Mapped[str] = mapped_column(comment="by what it was parted: formula, chemsys, prototype, time or given")
    parts: Mapped[list[dict[str, object]]] = mapped_column(
        JSONB,
        comment="[{name, rows, sha256, columns, level, query}] of its tables; columns: column -> SHA-256; query: null,"
        " or {level, filter, as_of, sources, columns, code_version}",
    )
    created_at: Mapped[Now]


class Model(Base):
    """A trained ensemble at one level. The checkpoint is safetensors + JSON and named by its hash."""

    __tablename__ = "model"
    __table_args__ = (
        UniqueConstraint("id", "level_id"),
        Index("uq_model_promoted", "level_id", "needs_structure", unique=True, postgresql_where=text("promoted")),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    training_set_id: Mapped[int] = mapped_column(ForeignKey("training_set.id"))
    code_version: Mapped[str]
    checkpoint_sha256: Mapped[str]
    members: Mapped[int] = mapped_column(Integer)
    needs_structure: Mapped[bool] = mapped_column(
        server_default=text("true"), comment="whether it predicts crystals; if not, formulas: their ground states"
    )
    metrics: Mapped[Json]
    promoted: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]


class ModelFile(Base):
    """The checkpoint itself, so that any machine that reaches the database can score."""

    __tablename__ = "model_file"
    __table_args__ = (CheckConstraint("name IN ('model.json', 'model.safetensors')", name="file_named"),)

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class Prediction(Base):
    """What a model said about a structure: formation energy in eV/atom at the model's level."""

    __tablename__ = "prediction"
    __table_args__ = (
        one_of("stage", Stage),
        CheckConstraint("abs(formation_energy_per_atom) < 'infinity'", name="energy_finite"),
        CheckConstraint("spread >= 0 AND spread < 'infinity'", name="spread_positive"),
        CheckConstraint("cardinality(members) > 0", name="members_counted"),
        CheckConstraint("num_nonnulls(lower_90, upper_90) IN (0, 2)", name="interval_whole"),
        CheckConstraint(
            "upper_90 - lower_90 < 'infinity' AND formation_energy_per_atom BETWEEN lower_90 AND upper_90",
            name="interval_around",
        ),
        UniqueConstraint("structure_id", "model_id", "stage"),
        Index(None, "model_id", "stage", "structure_id"),
    )

    id: Mapped[Id]
    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    stage: Mapped[str]
    formation_energy_per_atom: Mapped[float] = mapped_column(Floating, comment="eV/atom")
    spread: Mapped[float | None] = mapped_column(Floating, comment="inter-quartile range over the members, eV/atom")
    members: Mapped[list[float]] = mapped_column(ARRAY(Floating), comment="eV/atom, one a member")
    volume_factor: Mapped[float] = mapped_column(Floating, comment="volume of the minimum / volume of the structure")
    lower_90: Mapped[float | None] = mapped_column(
        Floating, comment="lower end of the calibrated 90 % interval, eV/atom; null: the model has no calibration"
    )
    upper_90: Mapped[float | None] = mapped_column(Floating, comment="its upper end, eV/atom")
    out_of_domain: Mapped[bool | None] = mapped_column(
        comment="whether the training set held nothing like it: not to be trusted; null: the model can't tell"
    )
    created_at: Mapped[Now]
