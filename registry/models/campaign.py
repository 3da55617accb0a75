"""Campaigns, their rounds, what each round selected and what its filters dropped."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Now, one_of
from registry.states import Purpose


class Campaign(Base):
    """A search of a chemical space at one level."""

    __tablename__ = "campaign"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    created_at: Mapped[Now]


class Round(Base):
    """One turn of the loop: generate, score, select, label, place; with the settings it ran on."""

    __tablename__ = "round"
    __table_args__ = (UniqueConstraint("campaign_id", "number"),)

    id: Mapped[Id]
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaign.id"))
    number: Mapped[int] = mapped_column(Integer)
    settings: Mapped[Json]
    started_at: Mapped[Now]
    finished_at: Mapped[datetime | None]


class Search(Base):
    """A composition whose structure is looked for at a level, by relaxing random ones.

    Seed and settings say which: the same ones come out on every machine, whenever they are asked for.
    """

    __tablename__ = "search"
    __table_args__ = (
        CheckConstraint("structures > 0", name="structures_wanted"),
        UniqueConstraint("composition_id", "level_id", "seed"),
        Index("ix_search_unfinished", "id", postgresql_where=text("finished_at IS NULL")),
    )

    id: Mapped[Id]
    composition_id: Mapped[int] = mapped_column(ForeignKey("composition.id"))
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"), comment="that asked; null: by hand")
    asked_by: Mapped[str] = mapped_column(comment="account of the database")
    structures: Mapped[int] = mapped_column(Integer, comment="how many are wanted")
    seed: Mapped[int]
    settings: Mapped[Json] = mapped_column(comment="what they are drawn from: workers/candidates/random_search")
    counts: Mapped[Json | None] = mapped_column(comment="cells that were tried, by what came of them")
    created_at: Mapped[Now]
    finished_at: Mapped[datetime | None] = mapped_column(comment="when its structures were stored; null: not yet")


class Selection(Base):
    """A structure that a round or a search picked.

    The model must be of the level that it picks for: a foreign key says so. Of a recheck it is the second model,
    which shall look at the structure; the energy is the first one's.
    """

    __tablename__ = "selection"
    __table_args__ = (
        one_of("purpose", Purpose),
        CheckConstraint("abs(predicted_decomposition_energy) < 'infinity'", name="energy_finite"),
        ForeignKeyConstraint(["model_id", "level_id"], ["model.id", "model.level_id"]),
        CheckConstraint("num_nonnulls(round_id, search_id) = 1", name="round_or_search"),
        UniqueConstraint("structure_id", "level_id", "purpose"),
        Index(None, "round_id", "purpose", "rank"),
        Index(None, "search_id", postgresql_where=text("search_id IS NOT NULL")),
    )

    id: Mapped[Id]
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    search_id: Mapped[int | None] = mapped_column(ForeignKey("search.id"))
    structure_id: Mapped[int] = mapped_column(ForeignKey("structure.id"))
    level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    purpose: Mapped[str]
    model_id: Mapped[int | None]
    rank: Mapped[int] = mapped_column(Integer)
    predicted_decomposition_energy: Mapped[float | None] = mapped_column(
        DOUBLE_PRECISION, comment="eV/atom, against the hull as it was when selected"
    )
    created_at: Mapped[Now]


class Funnel(Base):
    """What became of the parents and candidates of a round: how many a stage kept, a rule dropped, a flag marked."""

    __tablename__ = "funnel"

    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    candidates: Mapped[int]


class Validation(Base):
    """What a comparison of a round with outside knowledge found (`lode validate NAME`)."""

    __tablename__ = "validation"

    id: Mapped[Id]
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"), index=True)
    name: Mapped[str]
    summary: Mapped[Json]
    rows: Mapped[list[dict[str, object]]] = mapped_column(JSONB)
    created_at: Mapped[Now]
