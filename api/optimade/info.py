"""What the server tells of itself: /info, /info/structures, /links."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.optimade.envelope import API_VERSION, SERVED
from api.optimade.properties import PROPERTIES, TYPE
from api.optimade.refusals import STATEMENT_SECONDS
from registry.database import answer_within
from registry.models import Source, Structure

ENDPOINTS = ["info", "links", "structures"]
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
DESCRIPTION = "Crystals, fully ordered and periodic in three directions, as they were imported or proposed"


def base(session: Session, allowed: frozenset[str], url: str) -> dict[str, Any]:
    """The attributes of /info."""
    licence = _the_licence(session, allowed)
    attributes = {
        "api_version": API_VERSION,
        "available_api_versions": [{"url": f"{url}{one}", "version": API_VERSION} for one in SERVED if one],
        "formats": ["json"],
        "available_endpoints": ENDPOINTS,
        "entry_types_by_format": {"json": [TYPE]},
        "is_index": False,
        "license": None,
        "available_licenses": None,
        "available_licenses_for_entries": [licence] if licence else None,
    }
    return {"id": "/", "type": "info", "attributes": attributes}


def _the_licence(session: Session, allowed: frozenset[str]) -> str | None:
    """The one of all that is shown; where there are several, every entry says its own."""
    answer_within(session, STATEMENT_SECONDS)
    used = select(Structure.id).where(Structure.source_id == Source.id).exists()
    shown = ~Source.non_commercial | Source.name.in_(allowed)
    licences = session.scalars(select(Source.licence).where(shown, used).distinct().limit(2)).all()
    return licences[0] if len(licences) == 1 and SPDX.fullmatch(licences[0]) and licences[0] != "unknown" else None


@cache
def structures() -> dict[str, Any]:
    """The data of /info/structures: every property, by its name."""
    told = {
        name: {
            "description": one.field.description,
            "type": one.kind,
            "sortable": one.sort is not None,
            **({"unit": one.unit} if one.unit else {}),
        }
        for name, one in PROPERTIES.items()
    }
    return {
        "id": TYPE,
        "type": "info",
        "description": DESCRIPTION,
        "formats": ["json"],
        "properties": told,
        "output_fields_by_format": {"json": list(told)},
    }


PROVIDERS: dict[str, Any] = {
    "id": "optimade",
    "type": "links",
    "attributes": {
        "name": "Materials Consortia",
        "description": "List of OPTIMADE providers",
        "base_url": "https://providers.optimade.org",
        "homepage": "https://optimade.org",
        "link_type": "providers",
    },
}
