"""Which candidates deserve a label: pure rules over predicted energies and the hull as it stands.

Two kinds of candidates share a budget. A *first* is the lowest candidate of a composition that has no label yet. A
*rival* is another structure of a composition whose labels came out near the hull: without rivals a label says that a
compound exists, not in which structure. Candidates that are one crystal to the matcher are of one *kind*, for which the
lowest stands; a *twin*, of a kind that has a label already, gets what firsts and rivals leave over.

A prediction out of the model's domain isn't believed: it ranks, and competes with others, by the upper end of its
interval. So it takes no label from a better known candidate unless it is promising even there, and buries none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from registry.crystal import Floats
from registry.hull.geometry import Hull, compute_hull
from registry.hull.phases import Entry
from workers.candidates.clusters import TOP, first_of_each

PRIOR = 0.05  # eV/atom for a factor of ten in the probability of a substitution


@dataclass(frozen=True)
class Option:
    """A scored candidate.

    energy: predicted formation energy in eV/atom at the hull's level, its doubt added
    probability: of the likeliest substitution that leads to it
    doubt: eV/atom from the prediction to the upper end of its 90 % interval, of one out of the model's domain; else 0
    """

    structure_id: int
    formula: str
    amounts: Mapping[int, int]
    energy: float
    probability: float = 1.0
    doubt: float = 0.0


@dataclass(frozen=True)
class LabelledComposition:
    """What labels say of a composition, in eV/atom.

    energy: the lowest labelled formation energy; e_above_hull: of that label
    residual: of label minus prediction over its n labelled candidates: n / (n + 1) of the mean, since about half of a
        model's error is shared by the polymorphs of a composition
    structures: what was labelled, as proposed
    """

    energy: float
    e_above_hull: float
    residual: float
    structures: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rules:
    """threshold, window: eV/atom. rival_share: of the budget. per_composition: rivals of one composition at a time.

    top: how many of a composition, the lowest, are sorted into kinds
    """

    budget: int
    threshold: float = 0.05  # predicted decomposition energy, as in the paper
    window: float = 0.10  # a rival's predicted energy above the lowest label of its composition
    rival_share: float = 0.4
    per_composition: int = 2
    top: int = TOP


@dataclass(frozen=True)
class Choice:
    """A chosen candidate and its predicted decomposition energy against the hull as it stood, eV/atom."""

    structure_id: int
    decomposition_energy: float


def shifted(options: Iterable[Option], labelled: Mapping[str, LabelledComposition]) -> list[Option]:
    """Move the predictions of a labelled composition by its residual: polymorphs share most of a model's error."""
    return [
        replace(option, energy=option.energy + labelled[option.formula].residual)
        if option.formula in labelled
        else option
        for option in options
    ]


def decomposition_energies(options: Sequence[Option], entries: Sequence[Entry]) -> Floats:
    """(n,) eV/atom: predicted energy minus the hull of the entries; negative = predicted stable, by how much."""
    energies = np.array([option.energy for option in options], dtype=np.float64)
    return Hull(entries).decomposition_energies([option.amounts for option in options], energies)


def depths_among_rivals(options: Sequence[Option], entries: Sequence[Entry]) -> dict[str, float]:
    """Composition -> decomposition energy of its lowest option on the hull completed with all other lowest options.

    Before the binaries of a family are labelled every ternary seems deep; completing the hull with predictions ranks
    a compound by what would compete with it once they are.
    """
    lowest = {option.formula: option for option in sorted(options, key=lambda one: -one.energy)}
    start = 1 + max((int(entry.key) for entry in entries), default=0)
    keys = dict(enumerate(lowest.values(), start))
    proposed = [Entry(key, option.amounts, option.energy) for key, option in keys.items()]
    solution = compute_hull([*entries, *proposed])
    depths = {option.formula: solution[key].decomposition_energy for key, option in keys.items() if key in solution}
    return {formula: depth for formula, depth in depths.items() if depth is not None}


def order_of_worth(options: Sequence[Option], entries: Sequence[Entry]) -> list[str]:
    """Compositions by depth among rivals; each factor of ten in probability counts as much as PRIOR eV/atom.

    Energies alone can't tell the few real ternaries from the many that a model takes for slightly stable; how likely
    the substitution is, mined from known compounds, is evidence of its own.
    """
    depths = depths_among_rivals(options, entries)
    likeliest = {formula: max(one.probability for one in family) for formula, family in _by_formula(options).items()}

    def worth(formula: str) -> tuple[float, str]:
        return depths.get(formula, np.inf) - PRIOR * np.log10(max(likeliest[formula], 1e-12)), formula

    return sorted(likeliest, key=worth)


def choose(
    options: Sequence[Option],
    entries: Sequence[Entry],
    labelled: Mapping[str, LabelledComposition],
    rules: Rules,
    kinds: Mapping[int, int] = MappingProxyType({}),
) -> list[Choice]:
    """Up to `budget` unlabelled options, firsts by worth, rivals by predicted energy.

    kinds: structure id -> its kind, of the contenders and of what is labelled; one that isn't there is of its own kind
    """
    options = shifted([option for option in options if len(option.amounts) > 1], labelled)
    if not options:
        return []
    energies = dict(zip((o.structure_id for o in options), decomposition_energies(options, entries), strict=True))
    firsts = _firsts(options, entries, energies, labelled, rules)
    rivals, twins = _rivals(options, labelled, rules, kinds)
    chosen = _interleaved(firsts, rivals, twins, rules)
    return [Choice(option.structure_id, float(energies[option.structure_id]) - option.doubt) for option in chosen]


def promising(
    options: Sequence[Option], entries: Sequence[Entry], count: int, per_composition: int = 5, window: float = 0.15
) -> list[Choice]:
    """The `count` options worth the whole ensemble: of each composition the lowest few, compositions by worth.

    window: eV/atom above the lowest of a composition, about three times the error of one member
    """
    options = [option for option in options if len(option.amounts) > 1]
    if not options:
        return []
    energies = dict(zip((o.structure_id for o in options), decomposition_energies(options, entries), strict=True))
    families = {formula: _close(family, window) for formula, family in _by_formula(options).items()}
    ordered = order_of_worth(options, entries)
    chosen = [option for formula in ordered for option in families[formula][:per_composition]][:count]
    return [Choice(option.structure_id, float(energies[option.structure_id]) - option.doubt) for option in chosen]


def _firsts(
    options: Sequence[Option],
    entries: Sequence[Entry],
    energies: Mapping[int, float],
    labelled: Mapping[str, LabelledComposition],
    rules: Rules,
) -> list[Option]:
    lowest = {formula: family[0] for formula, family in _by_formula(options).items() if formula not in labelled}
    ordered = [lowest[formula] for formula in order_of_worth(options, entries) if formula in lowest]
    return [option for option in ordered if energies[option.structure_id] <= rules.threshold]


def contenders(
    options: Sequence[Option], labelled: Mapping[str, LabelledComposition], rules: Rules
) -> dict[str, list[Option]]:
    """Composition -> its lowest options, of those with a label near the hull and an option within the window of it."""
    return _contenders(shifted(options, labelled), labelled, rules)


def _contenders(
    options: Iterable[Option], labelled: Mapping[str, LabelledComposition], rules: Rules
) -> dict[str, list[Option]]:
    return {
        formula: family[: rules.top]
        for formula, family in _by_formula(options).items()
        if formula in labelled
        and labelled[formula].e_above_hull <= rules.threshold
        and family[0].energy - labelled[formula].energy <= rules.window
    }


def _rivals(
    options: Sequence[Option],
    labelled: Mapping[str, LabelledComposition],
    rules: Rules,
    kinds: Mapping[int, int],
) -> tuple[list[Option], list[Option]]:
    """Rivals and twins, each by predicted energy above the label."""
    rivals: list[tuple[float, Option]] = []
    twins: list[tuple[float, Option]] = []
    for formula, family in _contenders(options, labelled, rules).items():
        known = labelled[formula]
        held = {kinds.get(one, one) for one in known.structures}
        lowest = first_of_each(family, lambda option: kinds.get(option.structure_id, option.structure_id))
        close = [
            (option.energy - known.energy, option) for option in lowest if option.energy - known.energy <= rules.window
        ]
        is_twin = [kinds.get(option.structure_id, option.structure_id) in held for _, option in close]
        others = [row for row, twin in zip(close, is_twin, strict=True) if not twin][: rules.per_composition]
        rivals += others
        twins += [row for row, twin in zip(close, is_twin, strict=True) if twin][: rules.per_composition - len(others)]
    return _by_height(rivals), _by_height(twins)


def _by_height(rows: Iterable[tuple[float, Option]]) -> list[Option]:
    return [option for _, option in sorted(rows, key=lambda row: (row[0], row[1].structure_id))]


def _interleaved(
    firsts: Sequence[Option], rivals: Sequence[Option], twins: Sequence[Option], rules: Rules
) -> list[Option]:
    """Shares of the budget; what one kind leaves over goes to the other, and then to twins."""
    of_rivals = min(len(rivals), max(round(rules.budget * rules.rival_share), rules.budget - len(firsts)))
    of_firsts = min(len(firsts), rules.budget - of_rivals)
    return [*firsts[:of_firsts], *rivals[:of_rivals], *twins[: rules.budget - of_firsts - of_rivals]]


def _close(family: Sequence[Option], window: float) -> list[Option]:
    """Those of a family, lowest first, that lie within `window` of its lowest."""
    return [option for option in family if option.energy - family[0].energy <= window]


def _by_formula(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Formula -> its options, lowest first."""
    families: defaultdict[str, list[Option]] = defaultdict(list)
    for option in sorted(options, key=lambda one: (one.energy, one.structure_id)):
        families[option.formula].append(option)
    return dict(families)
