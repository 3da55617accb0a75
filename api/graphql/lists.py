"""How long a list may be: the argument `first`, with its default and its largest value."""

from __future__ import annotations

import graphene

from registry.errors import FilterError
from registry.query.materials import COUNT_CAP, MAX_LIMIT

FIRST = 20
FUNNEL = 50
PAGE = 50
WORKERS = 100
ENTRIES = 1_000
MOST_ENTRIES = 5_000
MOST_COUNTED = 10_000_000


def first(default: int = FIRST, most: int = MAX_LIMIT) -> graphene.Int:
    """The argument: limits.py reads its default, `size` what was given."""
    return graphene.Int(default_value=default, description=f"at most so many, 1 to {most:,}")


def up_to() -> graphene.Int:
    """The argument of a count."""
    return graphene.Int(default_value=COUNT_CAP, description=f"stop counting at so many, 1 to {MOST_COUNTED:,}")


def size(given: int | None, default: int = FIRST, most: int = MAX_LIMIT) -> int:
    """How many rows are asked for; null means the default. Raises FilterError."""
    wanted = default if given is None else given
    if not 0 < wanted <= most:
        raise FilterError(f"a list holds 1 to {most} rows, not {wanted}")
    return wanted
