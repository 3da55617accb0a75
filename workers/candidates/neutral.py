"""Element for element in crystals without oxidation states: elements and, when asked for, alloys.

Ionic data say nothing here, so the weights are ours: e for the same kind (metal, non-metal; a metalloid is both),
times e**2 for the same column of the periodic table. Metals never replace non-metals nor the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from workers.candidates.oxidation import Ion
from workers.candidates.substitution import Slot


def neutral_slot(source: Ion, amount: int, family: Sequence[str]) -> Slot:
    """A slot of neutral atoms; the probabilities of the m replacements sum to 1."""
    from pymatgen.core import Element

    symbol = Element.from_Z(source.number).symbol
    kept = [source] if symbol in family else []
    targets = [other for other in family if other != symbol and _kinds(symbol) & _kinds(other)]
    weights = np.array([np.exp(2.0 * (Element(other).group == Element(symbol).group)) for other in targets])
    odds = weights / weights.sum() if targets else weights
    ions = (*kept, *(Ion(Element(other).Z, 0) for other in targets))
    return Slot(source, amount, ions, np.concatenate([np.ones(len(kept)), odds]), kin=source.number)


@lru_cache(maxsize=128)
def _kinds(symbol: str) -> frozenset[str]:
    from pymatgen.core import Element

    element = Element(symbol)
    if element.is_metalloid:
        return frozenset({"metal", "non-metal"})
    return frozenset({"metal" if element.is_metal else "non-metal"})
