"""Who holds which row until when. What needs doing is derived by views; these tables hold only the claims."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.base import Base, Id, Now, one_of
from registry.states import Kind, WorkState


class Worker(Base):
    """A daemon that was seen alive at `beat_at`."""

    __tablename__ = "worker"

    id: Mapped[Id]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[Now]
    beat_at: Mapped[Now]
    stopped_at: Mapped[datetime | None]


class Work(Base):
    """One subject (a structure, a calculation) of one kind of work for one target (a model, a level).

    A finished row is deleted in the commit that stores its result.
    """

    __tablename__ = "work"
    __table_args__ = (
        one_of("kind", Kind),
        one_of("state", WorkState),
        CheckConstraint(
            "(state = 'running') = (token IS NOT NULL AND lease_until IS NOT NULL)", name="running_has_lease"
        ),
        CheckConstraint("state <> 'dead' OR error_class IS NOT NULL", name="dead_says_why"),
        UniqueConstraint("kind", "subject_id", "target_id"),
        Index("ix_work_waiting", "kind", "priority", "id", postgresql_where=text("state = 'waiting'")),
        Index("ix_work_running", "lease_until", postgresql_where=text("state = 'running'")),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    subject_id: Mapped[int]
    target_id: Mapped[int]
    priority: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    token: Mapped[uuid.UUID | None]
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("worker.id"))
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    run_after: Mapped[Now]
    error_class: Mapped[str | None]
    error: Mapped[str | None]
    failed_on: Mapped[list[str] | None] = mapped_column(
        ARRAY(Text), comment="hosts that lack what it takes: others go first"
    )
    created_at: Mapped[Now]
