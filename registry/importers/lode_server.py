"""What a server of ours tells beyond the standard, so that a crystal is the same row in both registries.

The arrays come digit for digit, and so does their id; every crystal keeps its own source, licence, citation and names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.terms import UNTOLD, SourceTerms

PREFIX = "lode"
POSITIONS = "_lode_fractional_site_positions"
NAMES = "_lode_external_ids_by_scheme"


def terms_of(attributes: Mapping[str, Any]) -> SourceTerms | None:
    """Of one crystal; None where its source isn't told."""
    name, licence, citation = (attributes.get(f"_lode_{one}") for one in ("source", "licence", "citation"))
    if not (isinstance(name, str) and name):
        return None
    return SourceTerms(
        name=name,
        licence=licence if isinstance(licence, str) and licence else UNTOLD.licence,
        citation=citation if isinstance(citation, str) else UNTOLD.citation,
        non_commercial=attributes.get("_lode_non_commercial") is True,
    )


def names_of(attributes: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Scheme -> name, or several."""
    told = attributes.get(NAMES)
    if not isinstance(told, dict):
        return {}
    return {scheme: names for scheme, names in told.items() if _is_name(names)}


def _is_name(told: Any) -> bool:
    if isinstance(told, list):
        return bool(told) and all(isinstance(one, str) and one for one in told)
    return isinstance(told, str) and told != ""
