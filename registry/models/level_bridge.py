"""Fitted maps from one level of theory to another."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Json, Now


class LevelBridge(Base):
    """What turns formation energies of one level into those of another, with what it is off by. The last one counts."""

    __tablename__ = "level_bridge"
    __table_args__ = (
        CheckConstraint("from_level_id <> to_level_id", name="two_levels"),
        UniqueConstraint("from_level_id", "to_level_id", "sha256"),
        Index(None, "to_level_id", "from_level_id", "id"),
    )

    id: Mapped[Id]
    from_level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    to_level_id: Mapped[int] = mapped_column(ForeignKey("level.id"))
    coefficients: Mapped[Json] = mapped_column(
        comment="{elements: {element: eV/atom of it}, anions: {anion: eV/atom of it where it is the anion},"
        " crystals: {element: how many}, ridge}"
    )
    residuals: Mapped[Json] = mapped_column(
        comment="part of the crystals -> {n, mean, std, mae} in eV/atom: fitted, held_out, raw, and those of each anion"
    )
    rows: Mapped[int] = mapped_column(Integer, comment="crystals that both levels have")
    data_hash: Mapped[str] = mapped_column(comment="SHA-256 over their formulas and energies")
    code_version: Mapped[str]
    sha256: Mapped[str] = mapped_column(comment="of the bridge as a file")
    created_at: Mapped[Now]
