"""Our labels against those that AFLOW gave to its own prototypes."""

from __future__ import annotations

import re

from registry.identity.normaliser import namings
from registry.identity.prototype import Species, _canonical, _label, prototype_of
from registry.identity.spacegroups import either_hand
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord

HIGHER_SYMMETRY = {
    "AB3_tI16_140_b_ah",  # shipped with ideal coordinates of a smaller cell
    "A2B_oC12_38_de_ab",  # the same
    "AB4_oC20_41_a_2b",
    "AB_oP8_33_a_a",
}
"""Crystals that have a higher symmetry than their tag within 0.01 A."""

UNREADABLE = "sigma_tP30_136_bf2ij"


def canonical(tag: str) -> str:
    """An AFLOW tag in our choice of origin and order of species."""
    formula, pearson, number, *sites = tag.split("_")
    spacegroup = either_hand(int(number))
    amounts = [int(count or 1) for count in re.findall(r"[A-Z](\d*)", formula)]
    rows = tuple((amount, positions(site)) for amount, site in zip(amounts, sites, strict=True))
    species, _ = _canonical(rows, spacegroup)
    return _label(tuple(sorted(amounts)), pearson, spacegroup, species)


def positions(site: str) -> Species:
    """ "bf2ij": one orbit each of b, f and j, two of i."""
    return tuple((letter, int(count or 1)) for count, letter in re.findall(r"(\d*)([a-zA-Z])", site))


def test_labels_agree_with_aflows_wherever_the_symmetry_does():
    differing = set()
    for item in read_prototypes():
        assert isinstance(item, ImportedRecord)
        tag = item.metadata["aflow"]
        if tag != UNREADABLE and prototype_of(item.crystal, symprec=0.01).label != canonical(tag):
            differing.add(tag)
    assert differing == HIGHER_SYMMETRY


def test_a_tag_is_its_own_canonical_form_but_for_the_origin():
    assert canonical("AB_cF8_216_c_a") == "AB_cF8_216_a_c"
    assert canonical("A2B_cF12_225_c_a") == "AB2_cF12_225_a_c"
    assert len(namings(216, frozenset("ac"))) == 8
