"""The parameters of a URL -> what is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from starlette.datastructures import QueryParams

from api.optimade.properties import PREFIX, PROPERTIES, UNKNOWN
from api.optimade.refusals import VERSION_NOT_SUPPORTED, Refused
from api.optimade.translate import Understood, understand
from registry.query.fields import suggestion
from registry.query.filter import Comparison, Filter
from registry.query.materials import MAX_LIMIT
from registry.query.values import storable

PAGE = 50
LARGEST_PAGE = 500
LEVEL = f"{PREFIX}level"

OF_ALL = ("response_format", "email_address", "response_fields", "include", "api_hint", LEVEL)
OF_LISTS = ("filter", "sort", "page_limit", "page_offset", "page_cursor")
ELSEWHERE = ("page_number", "page_above", "page_below")
"""Ways to turn pages that the standard knows and we don't."""

REQUIRED = ("id", "type")


@dataclass(frozen=True)
class Asked:
    """fields: names of properties; None: all that are known here. sort: our field, "-field" for the largest first."""

    meant: Understood
    fields: tuple[str, ...] | None = None
    level: str | None = None
    sort: str | None = None
    limit: int = PAGE
    offset: int = 0
    cursor: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """The attributes of each entry."""
        names = PROPERTIES if self.fields is None else self.fields
        return [name for name in names if name not in REQUIRED]


def of_list(parameters: QueryParams) -> Asked:
    """Of the entry listing. Raises Refused, FilterError."""
    ignored = _unknown(parameters)
    given = _once(parameters)
    asked = _of_any(given)
    meant = understand(given.get("filter", ""))
    offset, cursor = _number(given, "page_offset", 0, 0), given.get("page_cursor")
    limit = _limit(given)
    if offset and cursor:
        raise Refused(HTTPStatus.BAD_REQUEST, "page_offset and page_cursor contradict each other")
    if offset + limit > MAX_LIMIT:
        told = f"page_offset reaches {MAX_LIMIT:,} entries at most: follow links.next to what lies behind"
        raise Refused(HTTPStatus.BAD_REQUEST, told)
    notes = (*ignored, *asked.warnings, *meant.notes)
    return replace(asked, meant=meant, sort=_sort(given), limit=limit, offset=offset, cursor=cursor, warnings=notes)


def of_one(parameters: QueryParams, identity: str) -> Asked:
    """Of a single entry; parameters that aren't known are ignored. Raises Refused."""
    meant = Understood(Filter(Comparison("id", "=", identity)) if storable(identity) else None)
    known = {name: value for name, value in parameters.multi_items() if name in OF_ALL}
    return replace(_of_any(known), meant=meant, limit=1)


def plain(parameters: QueryParams) -> None:
    """Of what lists nothing. Raises Refused."""
    _of_any({name: value for name, value in parameters.multi_items() if name in ("response_format", "api_hint")})


def check_hint(hint: str) -> None:
    """Raises Refused for a version that isn't spoken here."""
    if hint and not re.fullmatch(r"v1(\.[0-2])?", hint):
        raise Refused(VERSION_NOT_SUPPORTED, f"version {hint[:20]} isn't spoken here: v1 is")


def _of_any(given: dict[str, str]) -> Asked:
    form = given.get("response_format", "json")
    if form != "json":
        raise Refused(HTTPStatus.BAD_REQUEST, f"response_format '{form[:40]}': only json is written here")
    if given.get("include", "") not in ("", "references"):
        raise Refused(HTTPStatus.BAD_REQUEST, "include: nothing is related to structures here")
    fields, warnings = _fields(given.get("response_fields", ""))
    return Asked(Understood(Filter()), fields, given.get(LEVEL) or None, warnings=warnings)


def _unknown(parameters: QueryParams) -> list[str]:
    """Warnings for what others would understand. Raises Refused for what nobody would."""
    unknown = [name for name in parameters if name not in OF_ALL and name not in OF_LISTS]
    for name in unknown:
        if name in ELSEWHERE:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name} isn't understood here: follow links.next")
        if not name.startswith("_") or name.startswith(PREFIX):
            told = f"unknown parameter '{name[:80]}'{suggestion(name, (*OF_ALL, *OF_LISTS))}"
            raise Refused(HTTPStatus.BAD_REQUEST, told)
    return [f"the parameter {name[:80]} isn't understood here" for name in unknown]


def _once(parameters: QueryParams) -> dict[str, str]:
    for name in parameters:
        if len(parameters.getlist(name)) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name[:80]} is given twice")
    return dict(parameters)


def _number(given: dict[str, str], name: str, default: int, least: int) -> int:
    words = given.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", words, flags=re.ASCII) or int(words) < least:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number from {least}, not '{words[:40]}'")
    return int(words)


def _limit(given: dict[str, str]) -> int:
    limit = _number(given, "page_limit", PAGE, 1)
    if limit > LARGEST_PAGE:
        raise Refused(HTTPStatus.FORBIDDEN, f"page_limit is {LARGEST_PAGE} at most")
    return limit


def _sort(given: dict[str, str]) -> str | None:
    """Our field for the one of the standard that results come by."""
    words = given.get("sort", "")
    if not words:
        return None
    if "," in words:
        raise Refused(HTTPStatus.BAD_REQUEST, "results are sorted by one field here")
    name = words.removeprefix("-")
    sortable = {one.name: one.sort for one in PROPERTIES.values() if one.sort}
    if name not in sortable:
        raise Refused(HTTPStatus.BAD_REQUEST, f"can't sort by '{name[:80]}'{suggestion(name, sortable)}")
    return ("-" if words.startswith("-") else "") + str(sortable[name])


def _fields(words: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The properties asked for, and warnings of those that others have. Raises Refused."""
    if not words:
        return None, ()
    names = tuple(dict.fromkeys(name for name in words.split(",") if name))
    for name in names:
        if name not in PROPERTIES and name not in UNKNOWN and not _foreign(name):
            told = f"response_fields: unknown property '{name[:80]}'{suggestion(name, PROPERTIES)}"
            raise Refused(HTTPStatus.BAD_REQUEST, told)
    return names, tuple(f"{name[:80]} is known of no crystal here" for name in names if _foreign(name))


def _foreign(name: str) -> bool:
    return bool(re.fullmatch(r"_[a-z0-9_]{1,250}", name)) and not name.startswith(PREFIX)
