"""How readily one ion takes another's place: the dense form of the data-mined table of Hautier et al.

Inorg. Chem. 50, 656 (2011): the weight of ion a taking the place of b is exp(lambda(a, b)). After Merchant et al.,
Nature 624, 80 (2023), lambda is clipped at 0, so that a replacement which was never seen is rare instead of banned.
The published table has 230 species. It lacks most anions of the pnictides, tellurides and tetrelides; they and the
mirrored ions of an anti-type take the mean lambda of their class, see `SubstitutionTable.estimate`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.candidates.oxidation import Ion

Floats = NDArray[np.float64]
Kinship = tuple[bool, bool, int]

UNSEEN = -5.0
"""lambda of a pair that was never seen: pymatgen's alpha."""

# Anions that common crystals hold and the published table doesn't.
EXTRA_ANIONS = {
    "H": -1,
    "B": -3,
    "C": -4,
    "Si": -4,
    "Ge": -4,
    "Sn": -4,
    "P": -3,
    "As": -3,
    "Sb": -3,
    "Bi": -3,
    "Te": -2,
}


@dataclass(frozen=True, eq=False)
class SubstitutionTable:
    """ions: the published species first, then the extra anions; lambdas: (n, n) float64, symmetric, >= 0.

    published: how many leading ions have data-mined rows.
    raw: (published, published) float64, the published lambdas, UNSEEN for pairs never seen.
    normalisers: (n,) float64, the published sums of exp(lambda) with alpha = -5 for pairs never seen
    (SubstitutionProbability.get_px); estimated for the extra anions.
    """

    ions: tuple[Ion, ...]
    lambdas: Floats
    published: int
    raw: Floats
    normalisers: Floats

    @cached_property
    def index(self) -> dict[Ion, int]:
        return {ion: i for i, ion in enumerate(self.ions)}

    @cached_property
    def class_means(self) -> dict[Kinship, float]:
        """Mean clipped lambda of the published pairs per class, a pair never seen counting as 0."""
        return _class_means(self.ions[: self.published], self.lambdas)

    def conditional(self, target: Ion, source: Ion) -> float:
        """exp(max(lambda, 0)) / px(source): pymatgen's cond_prob(target, source) wherever lambda >= 0."""
        i, j = self.index[target], self.index[source]
        return float(np.exp(self.lambdas[i, j]) / self.normalisers[j])

    def published_odds(self, ion: Ion, given: bool = True) -> Floats:
        """(published,) float64 for an ion of the published table: pymatgen's cond_prob(option, ion), lambdas unclipped.

        given: conditional on `ion`; else cond_prob(ion, option), conditional on each option.
        """
        weights = np.exp(self.raw[self.index[ion]])
        return np.asarray(weights / self.normalisers[self.index[ion] if given else slice(self.published)])

    def paper_odds(self, source: Ion) -> Floats:
        """(n,) float64, exp(max(lambda, 0)) over its sum; a published ion's sum runs over the published species."""
        row = self.index[source]
        weights = np.exp(self.lambdas[row])
        return np.asarray(weights / weights[: self.published if row < self.published else None].sum())

    def weights(self, source: Ion, targets: Sequence[Ion]) -> Floats:
        """(m,) float64, exp(max(lambda, 0)) of each target in the place of the source."""
        columns = [self.index[target] for target in targets]
        return np.exp(self.lambdas[self.index[source], columns])

    def mirrored_weights(self, source: Ion, targets: Sequence[Ion]) -> Floats:
        """(m,) float64, weights in the anti-type, where the source's place has the opposite charge and no element."""
        mirror = Ion(0, -source.charge)
        return np.exp([self.estimate(mirror, target) for target in targets])

    def estimate(self, a: Ion, b: Ion) -> float:
        """lambda of a pair without data: the mean over the published pairs of its class."""
        return self.class_means.get(_kinship(a, b), 0.0)


@lru_cache(maxsize=1)
def substitution_table() -> SubstitutionTable:
    """The table that ships inside pymatgen, with the extra anions."""
    from pymatgen.core import Element

    rows = _published_rows()
    ions = sorted({ion for a, b, _ in rows for ion in (a, b)})
    extra = sorted({Ion(Element(symbol).Z, charge) for symbol, charge in EXTRA_ANIONS.items()} - set(ions))
    index = {ion: i for i, ion in enumerate(ions)}
    raw = np.full((len(ions), len(ions)), UNSEEN)
    for a, b, value in rows:
        raw[index[a], index[b]] = raw[index[b], index[a]] = value
    lambdas = _with_extra(ions, extra, np.maximum(raw, 0.0))
    normalisers = np.exp(lambdas).sum(axis=1)
    normalisers[: len(ions)] = np.exp(raw).sum(axis=1)
    return SubstitutionTable((*ions, *extra), lambdas, len(ions), raw, normalisers)


def _with_extra(ions: list[Ion], extra: list[Ion], clipped: Floats) -> Floats:
    means = _class_means(ions, clipped)
    own = np.mean([clipped[i, i] for i, ion in enumerate(ions) if ion.charge < 0])
    every = [*ions, *extra]
    lambdas = np.zeros((len(every), len(every)))
    lambdas[: len(ions), : len(ions)] = clipped
    for i in range(len(ions), len(every)):
        row = [means.get(_kinship(every[i], other), 0.0) for other in every]
        lambdas[i, :] = lambdas[:, i] = row
    for i in range(len(ions), len(every)):
        lambdas[i, i] = own
    return lambdas


def _published_rows() -> list[tuple[Ion, Ion, float]]:
    from pymatgen.core import Species
    from pymatgen.core.structure_prediction import substitution_probability

    rows = json.loads((Path(substitution_probability.__file__).parent / "data" / "lambda.json").read_text())

    def ion(text: str) -> Ion:
        species = Species.from_str(text)
        return Ion(species.Z, round(species.oxi_state or 0))

    return [(ion(a), ion(b), float(value)) for a, b, value in rows if "D1+" not in (a, b)]


def _class_means(ions: Sequence[Ion], clipped: Floats) -> dict[Kinship, float]:
    values: dict[Kinship, list[float]] = {}
    for i, a in enumerate(ions):
        for j, b in enumerate(ions[:i]):
            if a.number != b.number:
                values.setdefault(_kinship(a, b), []).append(float(clipped[i, j]))
    return {kinship: float(np.mean(of_class)) for kinship, of_class in values.items()}


def _kinship(a: Ion, b: Ion) -> Kinship:
    """Which class a pair belongs to: both anions?, same column?, distance of charges (4 and above are one class).

    The column of an anion is the one that its charge implies, so hydride counts as a halide.
    """
    distance = min(abs(a.charge - b.charge), 4)
    if a.charge < 0 and b.charge < 0:
        return True, distance == 0, distance
    return False, a.number > 0 and b.number > 0 and _column(a.number) == _column(b.number), distance


@lru_cache(maxsize=128)
def _column(number: int) -> int:
    from pymatgen.core import Element

    return int(Element.from_Z(number).group)
