"""Space groups that are one for us: a crystal and its mirror image have the same energy and the same structure type."""

from __future__ import annotations

ENANTIOMORPHS = {
    78: 76,
    95: 91,
    96: 92,
    145: 144,
    153: 151,
    154: 152,
    170: 169,
    172: 171,
    179: 178,
    181: 180,
    213: 212,
}


def either_hand(number: int) -> int:
    """The lower number of an enantiomorphic pair (152 for 152 and 154); any other number as it is."""
    return ENANTIOMORPHS.get(number, number)
