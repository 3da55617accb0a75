"""From parents to candidates, as a stream of blocks: proposals, volumes, rules, all counted.

parents -> describe (primitive cell, oxidation states, symmetry) -> proposals -> Block -> rules -> Block
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from workers.candidates.block import Block, Candidate, Operation
from workers.candidates.filters import Bools, closest_approaches, elements_held, within_volumes
from workers.candidates.funnel import Funnel
from workers.candidates.novelty import KnownCompositions, composition_keys
from workers.candidates.parents import Describe, Parent, describe, prepared
from workers.candidates.proposals import Context, proposals
from workers.candidates.settings import PAPER, Settings
from workers.candidates.substitution import family_ions
from workers.candidates.table import substitution_table

__all__ = ["PAPER", "Block", "Candidate", "Operation", "Parent", "Settings", "blocks", "generate"]


def generate(
    parents: Iterable[Parent],
    family: Sequence[str],
    settings: Settings | None = None,
    funnel: Funnel | None = None,
    known: KnownCompositions | None = None,
) -> Iterator[Candidate]:
    """Stream the candidates of each parent one by one: those of `blocks`, in their order."""
    counts = Funnel() if funnel is None else funnel
    for block in blocks(parents, family, settings, counts, known):
        for row in range(len(block)):
            candidate = block.candidate(row)
            counts.flag(candidate.flags)
            yield candidate


def blocks(
    parents: Iterable[Parent],
    family: Sequence[str],
    settings: Settings | None = None,
    funnel: Funnel | None = None,
    known: KnownCompositions | None = None,
    how: Describe = describe,
) -> Iterator[Block]:
    """Stream what can be made of each parent, the best first; all elements are of `family`, no block is empty.

    known: compositions that are not new, for settings.novel_compositions.  how: `describe`, or a guarded one.
    What can't be used is counted in the funnel with its reason and never stops the stream.
    Raise ValueError where novel compositions are asked for and nothing is said of the known ones.
    """
    settings, funnel = settings or Settings(), Funnel() if funnel is None else funnel
    if settings.novel_compositions and known is None:
        raise ValueError("novel_compositions: give the known compositions")
    table = substitution_table()
    context = Context(table, family_ions(table, family), tuple(family), settings, funnel)
    for parent in parents:
        for proposed in _of_one(parent, context, how):
            block = passing(proposed, settings, funnel, known if settings.novel_compositions else None)
            if len(block):
                funnel.keep(block.source.operation, len(block))
                yield block


def _of_one(parent: Parent, context: Context, how: Describe) -> Iterator[Block]:
    found = prepared(parent, context.settings, context.funnel, how)
    if found is None:
        return
    try:
        yield from proposals(parent.key, found, context)
    except (ArithmeticError, LookupError, TypeError, ValueError) as fault:
        context.funnel.reject(f"failed: {type(fault).__name__}")


def passing(block: Block, settings: Settings, funnel: Funnel, known: KnownCompositions | None) -> Block:
    """Those that break no rule; each rule counts what it was the first to refuse."""
    block = _kept(block, elements_held(block.numbers) <= settings.max_elements, "too_many_elements", funnel)
    if known is not None and len(block):
        block = _kept(block, ~known.hold(composition_keys(block.numbers)), "known_composition", funnel)
    block = _kept(block, within_volumes(block.volumes, block.nsites, settings.limits), "volume", funnel)
    approaches = closest_approaches(block.numbers, block.source.pairs, block.lengths)
    return _kept(block, approaches >= settings.limits.closest, "overlap", funnel)


def _kept(block: Block, kept: Bools, rule: str, funnel: Funnel) -> Block:
    dropped = int(np.count_nonzero(~kept))
    funnel.reject(rule, dropped)
    return block.select(kept) if dropped else block
