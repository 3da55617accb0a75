"""From a described parent to blocks of candidates: which ions go where, in which order, before any rule of geometry."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from registry.crystal import Species
from workers.candidates.block import Block, Layouts, Operation, Recipe, Source, filled_charges, filled_numbers
from workers.candidates.filters import anion_formers_reduced, cations_less_electronegative
from workers.candidates.funnel import Funnel
from workers.candidates.groupings import Bounds, Groupings, groupings
from workers.candidates.neutral import neutral_slot
from workers.candidates.oxidation import Ion
from workers.candidates.parents import Described
from workers.candidates.places import best
from workers.candidates.settings import Settings
from workers.candidates.substitution import (
    Bools,
    Floats,
    Mappings,
    Slot,
    enumerate_mappings,
    paper_slot,
    replaces_something,
    slot,
)
from workers.candidates.symmetry import Ints, Symmetry
from workers.candidates.table import SubstitutionTable

BLOCK = 1 << 16
"""Rows of a block at most."""

MOST_COUNTED = 10**12
"""Of one ion's parts: more would overflow the sum over all parents."""


@dataclass(frozen=True, eq=False)
class Context:
    """The family's ions and elements, what is asked for, and where it is counted."""

    table: SubstitutionTable
    ions: tuple[Ion, ...]
    family: tuple[str, ...]
    settings: Settings
    funnel: Funnel

    def at_home(self, ion: Ion) -> bool:
        return ion.number in {other.number for other in self.ions}


def proposals(key: Hashable, parent: Described, context: Context) -> Iterator[Block]:
    """The blocks of one parent."""
    if context.settings.substitution:
        variants = [False, True] if context.settings.antitypes and parent.has_antitype else [False]
        for antitype in variants:
            recipes = [_whole(parent, context, antitype)]
            yield from _blocks(key, parent, "ionic_substitution", recipes, context.settings.per_parent, context.funnel)
    if parent.symmetry is not None:
        recipes = list(_partial(parent, parent.symmetry, context))
        most = context.settings.partial_per_parent
        yield from _blocks(key, parent, "partial_substitution", recipes, most, context.funnel)


def _whole(parent: Described, context: Context, antitype: bool) -> Recipe:
    """Every slot is all sites of an ion."""
    sites = parent.sites()
    slots = [_whole_slot(ion, len(places), parent, context, antitype) for ion, places in sites.items()]
    layout = _layout(parent, list(sites.values()))[None, :]
    mappings = _acceptable(slots, context, context.settings.threshold, balanced=True, layouts=1)
    return Recipe(mappings, layout, antitype=antitype)


def _whole_slot(ion: Ion, amount: int, parent: Described, context: Context, antitype: bool) -> Slot:
    if not parent.is_ionic:
        return neutral_slot(ion, amount, context.family)
    return _slot(ion, amount, context, ion.number, mirrored=antitype)


def _partial(parent: Described, found: Symmetry, context: Context) -> Iterator[Recipe]:
    """A subset of an ion's sites is replaced; all else stays if it is of the family and is replaced if not.

    Subsets of one size share their fillings.
    """
    sites = parent.sites()
    for ion, members in sites.items():
        others = {other: places for other, places in sites.items() if other != ion}
        for size, layouts in _parted(parent, found, members, list(others.values()), not context.at_home(ion), context):
            slots = _parted_slots(ion, size, len(members), {one: len(at) for one, at in others.items()}, context)
            balanced, threshold = context.settings.balanced_partial, context.settings.partial_threshold
            mappings = _acceptable(slots, context, threshold, balanced=balanced, layouts=len(layouts))
            yield Recipe(mappings, layouts, found.wyckoffs)


def _parted(
    parent: Described, found: Symmetry, members: Ints, others: Sequence[Ints], both_change: bool, context: Context
) -> Iterator[tuple[int, Layouts]]:
    """By size: the subset is slot 0, the rest of the ion's sites slot 1, the other ions follow."""
    bounds = Bounds(context.settings.max_partial_sites, context.settings.max_groupings)
    made = groupings(found, members, bounds, partitions=both_change)
    context.funnel.reject("unlisted_part", int(min(made.left_out, MOST_COUNTED)))
    base = _layout(parent, [np.zeros(0, np.int64), members, *others])
    for size in np.unique(made.sizes).tolist():
        subsets = _subsets(made.of_size(size), size)
        layouts = np.tile(base, (len(subsets), 1))
        np.put_along_axis(layouts, subsets, 0, axis=1)
        yield size, layouts


def _subsets(made: Groupings, size: int) -> Ints:
    """(m, size) the sites of groupings of one size, in the order of their first sites."""
    order = np.argsort(made.points, kind="stable")
    found = made.sites[order][np.nonzero(made.chosen[:, order])[1]].reshape(-1, size)
    return np.asarray(found[np.lexsort(found.T[::-1])])


def _parted_slots(ion: Ion, size: int, of: int, others: dict[Ion, int], context: Context) -> list[Slot]:
    replaced = _slot(ion, size, context, -1, keep=False)
    rest = _staying(ion, of - size, context, -2)
    return [replaced, rest, *(_staying(other, count, context, other.number) for other, count in others.items())]


def _staying(ion: Ion, amount: int, context: Context, kin: int) -> Slot:
    return _slot(ion, amount, context, kin, replace=not context.at_home(ion))


def _slot(
    ion: Ion,
    amount: int,
    context: Context,
    kin: int,
    *,
    keep: bool = True,
    replace: bool = True,
    mirrored: bool = False,
) -> Slot:
    """What may fill a slot, by the odds that are asked for. Mirrored ions have ours alone."""
    if context.settings.odds == "family" or mirrored:
        return slot(context.table, ion, amount, context.ions, kin=kin, keep=keep, replace=replace, mirrored=mirrored)
    every = paper_slot(context.table, ion, amount, kin=kin, family=context.ions)
    first, end = int(not (keep and context.at_home(ion))), len(every.ions) if replace else 1
    return Slot(ion, amount, every.ions[first:end], every.probabilities[first:end], kin)


def _layout(parent: Described, groups: Sequence[Ints]) -> Layouts:
    """(n,) the slot of each site."""
    found = np.zeros(parent.crystal.nsites, dtype=np.int8)
    for number, sites in enumerate(groups):
        found[sites] = number
    return found


def _acceptable(slots: Sequence[Slot], context: Context, threshold: float, *, balanced: bool, layouts: int) -> Mappings:
    """Different from the parent, balanced and chemically ordered; what isn't counts once for each of its layouts."""
    settings = context.settings
    mappings = enumerate_mappings(slots, threshold, balanced=False, most_replaced=settings.most_replaced)
    mappings = mappings.select(replaces_something(mappings))
    if balanced:
        mappings = _counted(mappings, _balanced(mappings), "charge", layouts, context.funnel)
    if not any(one.charges.any() for one in slots):
        return mappings
    ordered = cations_less_electronegative(filled_numbers(mappings), filled_charges(mappings))
    mappings = _counted(mappings, ordered, "electronegativity", layouts, context.funnel)
    if not settings.simple_anions:
        return mappings
    reduced = anion_formers_reduced(filled_numbers(mappings), filled_charges(mappings))
    return _counted(mappings, reduced, "oxidised_anion_former", layouts, context.funnel)


def _balanced(mappings: Mappings) -> Bools:
    """(k,) bool: the charges add up to zero."""
    amounts = np.array([one.amount for one in mappings.slots], dtype=np.int64)
    return np.asarray(filled_charges(mappings) @ amounts == 0, dtype=bool)


def _counted(mappings: Mappings, kept: Bools, rule: str, layouts: int, funnel: Funnel) -> Mappings:
    funnel.reject(rule, int((~kept).sum()) * layouts)
    return mappings.select(kept)


def _blocks(
    key: Hashable, parent: Described, operation: Operation, recipes: Sequence[Recipe], most: int, funnel: Funnel
) -> Iterator[Block]:
    """The best `most` of everything that the recipes make, in blocks of at most BLOCK; the rest is counted."""
    source = Source(key, parent.crystal, parent.pairs, parent.states.method, operation, tuple(recipes))
    every = sum(len(one.layouts) * len(one.mappings) for one in recipes)
    made, probabilities, patterns = _made(recipes, most)
    chosen = best(probabilities, patterns, most)
    funnel.reject("per_parent", every - len(chosen))
    for start in range(0, len(chosen), BLOCK):
        some = chosen[start : start + BLOCK]
        ranks = np.arange(start, start + len(some))
        yield Block(source, _numbers(source, made[some]), probabilities[some], ranks, made[some])


def _numbers(source: Source, made: Ints) -> Species:
    """(k, n) of the (k, 3) recipes, layouts and fillings."""
    numbers = np.zeros((len(made), source.crystal.nsites), dtype=np.int16)
    for index in np.unique(made[:, 0]).tolist():
        rows = np.flatnonzero(made[:, 0] == index)
        numbers[rows] = source.recipes[index].numbers(made[rows, 1], made[rows, 2])
    return numbers


def _made(recipes: Sequence[Recipe], most: int) -> tuple[Ints, Floats, Ints]:
    """(k, 3) recipe, layout and filling, (k,) probabilities, (k,) patterns.

    Of the layouts of a filling, which tie, the first `most` are enough: no more can be chosen.
    """
    made = [np.zeros((0, 3), dtype=np.int64)]
    for index, recipe in enumerate(recipes):
        layouts, rows = min(len(recipe.layouts), most), len(recipe.mappings)
        layout, row = np.divmod(np.arange(layouts * rows), max(rows, 1))
        made.append(np.column_stack([np.full(len(row), index), layout, row]))
    every = np.concatenate(made)
    starts = np.cumsum([0, *(len(recipe.mappings) for recipe in recipes)])
    fillings = starts[every[:, 0]] + every[:, 2]
    probabilities = np.concatenate([np.zeros(0), *(recipe.mappings.probabilities for recipe in recipes)])
    return every, probabilities[fillings], _patterns(recipes)[fillings]


def _patterns(recipes: Sequence[Recipe]) -> Ints:
    """(r,) one number for each pattern of charges and sizes, over the fillings of all recipes."""
    rows = [recipe.patterns for recipe in recipes]
    if not rows:
        return np.zeros(0, dtype=np.int64)
    _, numbers = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    return np.asarray(numbers.reshape(-1), dtype=np.int64)
