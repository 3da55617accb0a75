"""The elements that somebody asks for, in words."""

from __future__ import annotations

from functools import lru_cache

from registry.errors import SettingsError
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from workers.candidates.filters import RADIOACTIVE, SCARCE


def chosen_elements(text: str) -> tuple[str, ...]:
    """Symbols and groups (all, metals, lanthanides, ...) with commas or spaces between; -He or -radioactive takes away.

    Each element once, in the order of atomic numbers. Where nothing is named but what is taken, it is taken from all.
    Raise SettingsError for what is neither, or if nothing is left.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise SettingsError("name at least one element")
    chosen = set(_members("all")) if all(word.startswith("-") for word in words) else set()
    for word in words:
        if not word.startswith("-"):
            chosen |= _members(word)
    for word in words:
        if word.startswith("-"):
            chosen -= _members(word[1:])
    if not chosen:
        raise SettingsError(f"no element is left of {text!r}")
    return tuple(SYMBOLS[number] for number in sorted(chosen))


def _members(word: str) -> frozenset[int]:
    if word in ATOMIC_NUMBERS:
        return frozenset({ATOMIC_NUMBERS[word]})
    if word not in _groups():
        raise SettingsError(f"not an element: {word}; groups are {', '.join(_groups())}")
    return _groups()[word]


@lru_cache(maxsize=1)
def _groups() -> dict[str, frozenset[int]]:
    from pymatgen.core import Element

    elements = {number: Element.from_Z(number) for number in ATOMIC_NUMBERS.values()}
    tests = {
        "metals": "is_metal",
        "alkali": "is_alkali",
        "alkaline": "is_alkaline",
        "transition": "is_transition_metal",
        "lanthanides": "is_lanthanoid",
        "actinides": "is_actinoid",
        "chalcogens": "is_chalcogen",
        "halogens": "is_halogen",
        "noble": "is_noble_gas",
    }
    found = {name: frozenset(z for z, one in elements.items() if getattr(one, test)) for name, test in tests.items()}
    return {"all": frozenset(elements), **found, "radioactive": RADIOACTIVE, "scarce": SCARCE}
