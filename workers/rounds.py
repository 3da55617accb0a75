"""Rounds of campaigns, opened and closed. Commit is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import LodeError
from registry.models import Campaign, Round


def open_round(session: Session, level_id: int, name: str, settings: Mapping[str, Any]) -> int:
    """The id of the next round of campaign `name`, which is made where it is missing.

    Raises LodeError for a campaign of another level.
    """
    values = {"name": name, "level_id": level_id}
    session.execute(insert(Campaign).values(**values).on_conflict_do_nothing())
    campaign = session.scalars(sa.select(Campaign).where(Campaign.name == name)).one()
    if campaign.level_id != level_id:
        raise LodeError(f"campaign '{name}' belongs to another level: choose another name")
    return _next_round(session, campaign.id, settings)


def close_round(session: Session, round_id: int) -> None:
    """It has ended, now."""
    session.get_one(Round, round_id).finished_at = session.scalars(sa.select(sa.func.now())).one()


def _next_round(session: Session, campaign_id: int, settings: Mapping[str, Any]) -> int:
    """Of several that are opened at once, each gets a number of its own."""
    last = sa.select(sa.func.coalesce(sa.func.max(Round.number), 0)).where(Round.campaign_id == campaign_id)
    while True:
        number = session.scalars(last).one() + 1
        row = insert(Round).values(campaign_id=campaign_id, number=number, settings=settings)
        found: int | None = session.scalar(row.on_conflict_do_nothing().returning(Round.id))
        if found is not None:
            return found
