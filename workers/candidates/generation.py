"""From parents to candidates: states, substitution, partial substitution, volume, filters, all counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from registry.crystal import Crystal
from workers.candidates.filters import Flag, Limits, Pairs, broken_rule, flags, neighbour_pairs
from workers.candidates.funnel import Funnel
from workers.candidates.neutral import neutral_slot
from workers.candidates.oxidation import Ion, OxidationStates, oxidation_states
from workers.candidates.partial_substitution import Ints, Symmetry, primitive, symmetry, unique_subsets
from workers.candidates.substitution import (
    Mappings,
    Slot,
    anion_formers_reduced,
    cations_less_electronegative,
    enumerate_mappings,
    family_ions,
    replaces_something,
    slot,
)
from workers.candidates.table import SubstitutionTable, substitution_table
from workers.candidates.volume import predicted_volume

Operation = Literal["ionic_substitution", "partial_substitution"]
PARENT_FAULTS = (ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Parent:
    """A known crystal; `key` is the caller's and comes back untouched."""

    key: Hashable
    crystal: Crystal


@dataclass(frozen=True, eq=False)
class Candidate:
    """crystal: the parent's standardised primitive cell with other elements, at its predicted volume.

    arguments: JSON-able. "mapping" (ion -> ion), "elements" (element -> element), "states" (how the oxidation states
    were found), "antitype"; a partial substitution adds "ion", "replaced_by", "kept_as", "sites" (of the primitive
    cell), "wyckoffs" and "of" (number of sites of the ion).
    probability: product over the replaced ions.
    rank: place among the parent's candidates of this operation, 0 first, see `_ranked`.
    """

    crystal: Crystal
    parent: Hashable
    operation: Operation
    arguments: dict[str, object]
    probability: float
    rank: int
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Settings:
    """threshold: least probability of a substitution; partial_threshold: of a partial one.

    max_sites: of the parent's primitive cell.  max_elements: of the candidate.
    max_partial_sites: up to here all subsets of an ion's sites are tried, beyond only unions of Wyckoff orbits.
    per_parent, partial_per_parent: at most this many of each operation per parent, see `_ranked`.
    antitypes: also fill cation sites with anions and anion sites with cations.
    alloys: also replace metals in compounds of metals alone.
    simple_anions: elements of groups 15 to 17 only as anions.
    """

    threshold: float = 1e-5
    partial_threshold: float = 1e-3
    max_sites: int = 14
    max_elements: int = 6
    max_partial_sites: int = 8
    per_parent: int = 200
    partial_per_parent: int = 40
    partial: bool = True
    antitypes: bool = True
    alloys: bool = False
    simple_anions: bool = False
    symprec: float = 1e-2
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False)
class _Context:
    table: SubstitutionTable
    ions: tuple[Ion, ...]
    family: tuple[str, ...]
    settings: Settings
    funnel: Funnel


@dataclass(frozen=True, eq=False)
class _Prepared:
    key: Hashable
    crystal: Crystal
    states: OxidationStates
    sites: dict[Ion, Ints]
    pairs: Pairs


@dataclass(frozen=True, eq=False)
class _Proposal:
    """One row of mappings; groups: the sites of each slot; where: the operation's own arguments."""

    mappings: Mappings
    row: int
    groups: Sequence[Ints]
    where: dict[str, object]

    @property
    def ions(self) -> tuple[Ion, ...]:
        return self.mappings.ions(self.row)

    @property
    def probability(self) -> float:
        return float(self.mappings.probabilities[self.row])

    @property
    def pattern(self) -> tuple[int, ...]:
        """Charge and size of each slot."""
        return tuple(n for ion, sites in zip(self.ions, self.groups, strict=True) for n in (ion.charge, len(sites)))


def generate(
    parents: Iterable[Parent], family: Sequence[str], settings: Settings | None = None, funnel: Funnel | None = None
) -> Iterator[Candidate]:
    """Stream the candidates of each parent, most probable first per operation; all their elements are of `family`.

    A parent that can't be used is counted in the funnel with its reason and never stops the stream.
    """
    table = substitution_table()
    context = _Context(
        table, family_ions(table, family), tuple(family), settings or Settings(), Funnel() if funnel is None else funnel
    )
    for parent in parents:
        prepared = _prepare(parent, context)
        if prepared is not None:
            yield from _substituted(prepared, context)
            if context.settings.partial and _is_ionic(prepared.states):
                yield from _partially_substituted(prepared, context)


def _prepare(parent: Parent, context: _Context) -> _Prepared | None:
    try:
        prepared = _described(parent, context)
    except PARENT_FAULTS as fault:
        context.funnel.parent(f"failed: {type(fault).__name__}")
        return None
    reason = _unusable(prepared, context.settings)
    context.funnel.parent(reason or f"used: {prepared.states.method}")
    return None if reason else prepared


def _described(parent: Parent, context: _Context) -> _Prepared:
    crystal = primitive(parent.crystal, context.settings.symprec)
    if _too_complex(crystal, context.settings):
        states = OxidationStates(np.zeros(crystal.nsites, np.int8), "none")
        return _Prepared(parent.key, crystal, states, {}, neighbour_pairs(crystal))
    states = oxidation_states(crystal, context.table.index.keys())
    ions = states.of_sites(crystal)
    sites = {ion: np.array([i for i, other in enumerate(ions) if other == ion]) for ion in dict.fromkeys(ions)}
    return _Prepared(parent.key, crystal, states, sites, neighbour_pairs(crystal))


def _unusable(parent: _Prepared, settings: Settings) -> str | None:
    if reason := _too_complex(parent.crystal, settings):
        return reason
    if parent.states.method == "none":
        return "no_oxidation_states"
    return "metallic" if parent.states.method == "metallic" and not settings.alloys else None


def _too_complex(crystal: Crystal, settings: Settings) -> str | None:
    if crystal.nsites > settings.max_sites:
        return "too_large"
    return "too_many_elements" if len(crystal.amounts) > settings.max_elements else None


def _substituted(parent: _Prepared, context: _Context) -> Iterator[Candidate]:
    variants = [False, True] if context.settings.antitypes and _has_antitype(parent) else [False]
    groups = list(parent.sites.values())
    for antitype in variants:
        slots = [_whole_slot(ion, parent, context, antitype) for ion in parent.sites]
        mappings = _acceptable(slots, context, context.settings.threshold)
        proposals = [_Proposal(mappings, row, groups, {"antitype": antitype}) for row in range(len(mappings))]
        for rank, proposal in enumerate(_ranked(proposals, context.settings.per_parent, context.funnel)):
            yield from _built(parent, context, "ionic_substitution", proposal, rank)


def _whole_slot(ion: Ion, parent: _Prepared, context: _Context, antitype: bool) -> Slot:
    amount = len(parent.sites[ion])
    if not _is_ionic(parent.states):
        return neutral_slot(ion, amount, context.family)
    return slot(context.table, ion, amount, context.ions, kin=ion.number, mirrored=antitype)


def _partially_substituted(parent: _Prepared, context: _Context) -> Iterator[Candidate]:
    try:
        found = symmetry(parent.crystal, context.settings.symprec)
    except PARENT_FAULTS as fault:
        return context.funnel.reject(f"symmetry: {type(fault).__name__}")
    home = {ion.number for ion in context.ions}
    proposals: list[_Proposal] = []
    for ion, sites in parent.sites.items():
        limit = context.settings.max_partial_sites
        for subset in unique_subsets(found, sites, max_sites=limit, both_change=ion.number not in home):
            proposals += _with_subset(parent, context, found, ion, subset)
    for rank, proposal in enumerate(_ranked(proposals, context.settings.partial_per_parent, context.funnel)):
        yield from _built(parent, context, "partial_substitution", proposal, rank)


def _with_subset(parent: _Prepared, context: _Context, found: Symmetry, ion: Ion, subset: Ints) -> list[_Proposal]:
    """The subset is replaced; everything else stays if it is of the family and is replaced if not."""
    rest = np.setdiff1d(parent.sites[ion], subset)
    others = [other for other in parent.sites if other != ion]
    slots = [slot(context.table, ion, len(subset), context.ions, kin=-1, keep=False), _staying(ion, rest, context, -2)]
    slots += [_staying(other, parent.sites[other], context, other.number) for other in others]
    mappings = _acceptable(slots, context, context.settings.partial_threshold)
    groups = [subset, rest, *(parent.sites[other] for other in others)]
    where: dict[str, object] = {
        "ion": str(ion),
        "sites": subset.tolist(),
        "wyckoffs": sorted({found.wyckoffs[site] for site in subset.tolist()}),
        "of": len(parent.sites[ion]),
    }
    return [_Proposal(mappings, row, groups, where | _halves(mappings, row)) for row in range(len(mappings))]


def _halves(mappings: Mappings, row: int) -> dict[str, object]:
    replaced_by, kept_as, *_ = mappings.ions(row)
    return {"replaced_by": str(replaced_by), "kept_as": str(kept_as)}


def _staying(ion: Ion, sites: Ints, context: _Context, kin: int) -> Slot:
    at_home = ion.number in {other.number for other in context.ions}
    return slot(context.table, ion, len(sites), context.ions, kin=kin, replace=not at_home)


def _acceptable(slots: Sequence[Slot], context: _Context, threshold: float) -> Mappings:
    """Balanced, different from the parent and chemically ordered."""
    mappings = enumerate_mappings(slots, threshold)
    mappings = mappings.select(replaces_something(mappings))
    if not any(s.charges.any() for s in slots):
        return mappings
    ordered = cations_less_electronegative(mappings)
    context.funnel.reject("electronegativity", int((~ordered).sum()))
    mappings = mappings.select(ordered)
    if not context.settings.simple_anions:
        return mappings
    simple = anion_formers_reduced(mappings)
    context.funnel.reject("oxidised_anion_former", int((~simple).sum()))
    return mappings.select(simple)


def _ranked(proposals: list[_Proposal], most: int, funnel: Funnel) -> list[_Proposal]:
    """The first `most` by the better of two places: by probability, and among the likeliest of each charge pattern.

    By probability alone, compounds that charge balance lets change only together (CuFeS2 -> ZnSiAs2) come after every
    isovalent replacement; by pattern alone, unusual states come too early.
    """
    likeliest = sorted(proposals, key=lambda proposal: -proposal.probability)
    seen: Counter[tuple[int, ...]] = Counter()
    within = []
    for proposal in likeliest:
        within.append(seen[proposal.pattern])
        seen[proposal.pattern] += 1
    by_pattern = sorted(range(len(likeliest)), key=lambda i: (within[i], i))
    place = {i: min(i, j) for j, i in enumerate(by_pattern)}
    order = sorted(range(len(likeliest)), key=lambda i: (place[i], i))
    funnel.reject("per_parent", len(order[most:]))
    return [likeliest[i] for i in order[:most]]


def _built(
    parent: _Prepared, context: _Context, operation: Operation, proposal: _Proposal, rank: int
) -> Iterator[Candidate]:
    numbers = parent.crystal.numbers.copy()
    for sites, ion in zip(proposal.groups, proposal.ions, strict=True):
        numbers[sites] = ion.number
    crystal = parent.crystal.with_numbers(numbers)
    if len(crystal.amounts) > context.settings.max_elements:
        return context.funnel.reject("too_many_elements")
    crystal = crystal.scaled(predicted_volume(crystal, parent.crystal))
    pairs = parent.pairs.scaled((crystal.volume / parent.crystal.volume) ** (1 / 3))
    broken = broken_rule(crystal, pairs, context.settings.limits)
    if broken is not None:
        return context.funnel.reject(broken)
    context.funnel.keep(operation)
    arguments = {"states": parent.states.method} | _renamed(proposal) | proposal.where
    found = flags(crystal, pairs)
    yield Candidate(crystal, parent.key, operation, arguments, proposal.probability, rank, found)


def _renamed(proposal: _Proposal) -> dict[str, object]:
    """What was replaced by what; the partly replaced ion is told in the proposal's own arguments."""
    partial = "sites" in proposal.where
    sources = [s.source for s in proposal.mappings.slots]
    pairs = list(zip(sources, proposal.ions, strict=True))[2 if partial else 0 :]
    return {
        "mapping": {str(source): str(ion) for source, ion in pairs if ion != source},
        "elements": {source.symbol: ion.symbol for source, ion in pairs if ion.number != source.number},
    }


def _is_ionic(states: OxidationStates) -> bool:
    return states.method in ("bond_valence", "composition")


def _has_antitype(parent: _Prepared) -> bool:
    """An anti-type differs from the type only if cations and anions are not equally many."""
    cations = int((parent.states.charges > 0).sum())
    return _is_ionic(parent.states) and 2 * cations != parent.crystal.nsites
