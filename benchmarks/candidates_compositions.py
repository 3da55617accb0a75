"""Compositions per second, whether they are those of SMACT, and how many of the known ones the rules let through.

    python -m benchmarks.candidates_compositions [--quick]

Rate: compositions of four of the 81 elements up to Bi that have oxidation states, up to 15 atoms of one element and 20
in all, looked at a second, and found a second, as arrays; over the first chemical systems. `peak` is what the process
grew by meanwhile.
Peer: SMACT's `smact_filter` on random chemical systems, up to 8 atoms of an element, strict balance, Pauling's order of
electronegativities, with our states in a file and its electronegativities in our table; `equal`: the systems in which
both find the same compositions. With pymatgen's electronegativities, which we use otherwise, some differ: counted.
`smact_validity` on known compositions likewise. Ratios are of CPU seconds on one core.
Coverage, where LODE_TEST_DATA is set: the share of known compositions with a non-metal, of 2 to 6 elements, that pass
with none, up to one and up to two elements between states; random ones have the amounts of the known ones and elements
drawn anew. "pymatgen's": its common states instead of ours. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain, combinations, islice
from math import gcd
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Composition, Element

from benchmarks.crystals import cpu_seconds
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from workers.candidates.compositions.enumeration import Compositions, Counts, Rules, classified, of_systems
from workers.candidates.compositions.space import Bounds
from workers.candidates.compositions.states import StateTable, common_states

Formula = tuple[tuple[int, int], ...]
"""Atomic numbers and reduced amounts, ascending."""

UP_TO_BI = SYMBOLS[1:84]
STRICT_ORDER = Rules(0, ordered=True)
SMACT_AMOUNT = 8
DATA = {"mp": "mp_structures/mp_36737.parquet", "critexam": "composition/mp_critexam_Ef.parquet"}
States = Callable[[Iterable[str]], dict[str, list[int]]]


def pymatgen_states(symbols: Iterable[str]) -> dict[str, list[int]]:
    """pymatgen's common ones, and 0 for metals."""
    elements = map(Element, symbols)
    return {one.symbol: sorted({*one.common_oxidation_states, *[0] * one.is_metal}) for one in elements}


SETTINGS: dict[str, tuple[States, bool]] = {
    "default": (common_states, False),
    "ordered": (common_states, True),
    "ionic": (partial(common_states, zero_for_metals=False), False),
    "ionic, ordered": (partial(common_states, zero_for_metals=False), True),
    "rare 0": (partial(common_states, rare=0.0), False),
    "rare 0.01": (partial(common_states, rare=0.01), False),
    "rare 0.05": (partial(common_states, rare=0.05), False),
    "pymatgen's": (pymatgen_states, False),
}


def measure(quick: bool) -> dict[str, object]:
    """Prints its tables; returns the figures by their JSON names."""
    warnings.filterwarnings("ignore")
    table = StateTable.of(common_states(UP_TO_BI))
    found = rates(table, 200 if quick else 60_000) | against_smact(table, quick) | coverage(quick)
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def rates(table: StateTable, count: int) -> dict[str, object]:
    systems = np.array(list(islice(combinations(range(len(table)), 4), count)))
    bounds = Bounds(4, 4)
    found: dict[str, object] = {}
    print(f"{'of 4 elements':24}{'looked at':>14}{'found':>14}{'looked at/s':>14}{'found/s':>14}")
    for name, rules, share in (("all", Rules(2), 1), ("strict", Rules(0), 1), ("ordered", Rules(2, ordered=True), 10)):
        run(table, bounds, rules, systems[:1])  # compiles
        before = peak_mb()
        (kept, looked_at), seconds = cpu_seconds(lambda: run(table, bounds, rules, systems[: len(systems) // share]))  # noqa: B023
        print(f"{name:24}{looked_at:14,}{kept:14,}{looked_at / seconds:14,.0f}{kept / seconds:14,.0f}")
        found |= {f"{name}_looked_at": looked_at, f"{name}_looked_at_per_s": looked_at / seconds}
        found |= {f"{name}_found_per_s": kept / seconds, f"{name}_peak_mb": peak_mb() - before}
    return found


def run(table: StateTable, bounds: Bounds, rules: Rules, systems: Any) -> tuple[int, int]:
    counts = Counts()
    kept = sum(map(len, of_systems(table, bounds, rules, systems, counts)))
    return kept, int(counts.looked_at.sum())


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def against_smact(table: StateTable, quick: bool) -> dict[str, object]:
    if find_spec("smact") is None:
        print("smact isn't installed: pip install 'motherlode[bench]'")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder) / "states.txt"
        lines = (
            f"{SYMBOLS[z]} {' '.join(map(str, own_states(table, place)))}" for place, z in enumerate(table.numbers)
        )
        states.write_text("\n".join(lines) + "\n")
        return filtered(table, str(states), (40, 4) if quick else (300, 30)) | validated(
            table, str(states), 200 if quick else 2_000
        )


def own_states(table: StateTable, place: int) -> list[int]:
    return sorted(set(table.states[place].tolist()))


def filtered(table: StateTable, states: str, sizes: tuple[int, int]) -> dict[str, object]:
    """Ternary and quaternary systems, as many as `sizes` says."""
    rng, rows = np.random.default_rng(0), []
    figures: dict[str, float] = {}
    theirs_order = replace(table, electronegativities=smact_electronegativities(table))
    for count, size in zip((3, 4), sizes, strict=True):
        systems = np.array([np.sort(rng.choice(len(table), count, replace=False)) for _ in range(size)])
        bounds = Bounds(count, count, SMACT_AMOUNT, SMACT_AMOUNT * count)
        list(of_systems(theirs_order, bounds, STRICT_ORDER, systems[:1], Counts()))
        mine, own_seconds = cpu_seconds(
            lambda: list(of_systems(theirs_order, bounds, STRICT_ORDER, systems, Counts()))  # noqa: B023
        )
        theirs, peer_seconds = cpu_seconds(lambda: [smact_filtered(table, row, states) for row in systems])  # noqa: B023
        ours = by_system(mine)
        pairs = [(ours[tuple(names)], one) for names, one in zip(symbols(table, systems), theirs, strict=True)]
        other = by_system(list(of_systems(table, bounds, STRICT_ORDER, systems, Counts())))
        changed = sum(len(other[key] ^ ours[key]) for key in {tuple(row) for row in symbols(table, systems)})
        rows.append((count, size, sum(len(one) for one, _ in pairs), sum(a == b for a, b in pairs), changed))
        figures[f"smact_filter_ratio_{count}"] = peer_seconds / own_seconds
    heads = ("systems", "compositions", "equal", "other order", "ratio")
    print(f"\n{'smact_filter: elements':24}" + "".join(f"{head:>14}" for head in heads))
    for count, size, number, equal, changed in rows:
        ratio = figures[f"smact_filter_ratio_{count}"]
        print(f"{count:<24}{size:14,}{number:14,}{equal:14,}{changed:14,}{ratio:14,.0f}")
    return figures | {
        "smact_filter_systems": sum(row[1] for row in rows),
        "smact_filter_compositions": sum(row[2] for row in rows),
        "smact_filter_equal_systems": sum(row[3] for row in rows),
        "smact_filter_changed_by_electronegativities": sum(row[4] for row in rows),
    }


def symbols(table: StateTable, systems: Any) -> list[list[str]]:
    return [[SYMBOLS[number] for number in row] for row in table.numbers[systems].tolist()]


def by_system(chunks: Iterable[Compositions]) -> defaultdict[tuple[str, ...], set[tuple[int, ...]]]:
    found: defaultdict[tuple[str, ...], set[tuple[int, ...]]] = defaultdict(set)
    for chunk in chunks:
        for names, amounts in zip(symbols(chunk.table, chunk.elements), chunk.amounts.tolist(), strict=True):
            found[tuple(names)].add(tuple(amounts))
    return found


def smact_filtered(table: StateTable, system: Any, states: str) -> set[tuple[int, ...]]:
    from smact.screening import smact_filter

    elements = [smact_element(SYMBOLS[number]) for number in table.numbers[system]]
    found = smact_filter(elements, threshold=SMACT_AMOUNT, species_unique=False, oxidation_states_set=states)
    return {tuple(ratio) for _, ratio in cast("list[tuple[Any, list[int]]]", found)}


@cache
def smact_element(symbol: str) -> Any:
    from smact import Element as SmactElement

    return SmactElement(symbol)


def smact_electronegativities(table: StateTable) -> Any:
    found = [smact_element(SYMBOLS[number]).pauling_eneg for number in table.numbers]
    return np.array([np.nan if one is None else one for one in found], dtype=np.float64)


def validated(table: StateTable, states: str, count: int) -> dict[str, object]:
    from smact.screening import smact_validity

    known = [one for one in known_formulas("mp") if {z for z, _ in one} <= set(table.numbers.tolist())]
    if not known:
        return {}
    chosen = [known[place] for place in np.random.default_rng(0).choice(len(known), count, replace=False)]
    asked = [Composition({SYMBOLS[z]: n for z, n in one}) for one in chosen]
    own = replace(table, electronegativities=smact_electronegativities(table))
    passing(own, STRICT_ORDER, chosen)  # compiles
    ours, own_seconds = cpu_seconds(lambda: passing(own, STRICT_ORDER, chosen))
    theirs, peer_seconds = cpu_seconds(
        lambda: [smact_validity(one, include_alloys=False, oxidation_states_set=states) for one in asked]
    )
    agree = sum((between == 0) == valid for between, valid in zip(ours, theirs, strict=True))
    ratio = peer_seconds / own_seconds
    print(f"{'smact_validity':24}{'':14}{count:14,}{agree:14,}{'':14}{ratio:14,.0f}")
    return {"smact_validity_ratio": ratio, "smact_validity_asked": count, "smact_validity_agree": agree}


def passing(table: StateTable, rules: Rules, formulas: Sequence[Formula]) -> list[int]:
    """Elements between states, 3 where a formula doesn't balance or holds an element without states."""
    place = {number: row for row, number in enumerate(table.numbers.tolist())}
    rows: defaultdict[int, list[int]] = defaultdict(list)
    found = [3] * len(formulas)
    for index, formula in enumerate(formulas):
        if all(number in place for number, _ in formula):
            rows[len(formula)].append(index)
    for indices in rows.values():
        elements = np.array([[place[number] for number, _ in formulas[index]] for index in indices])
        amounts = np.array([[count for _, count in formulas[index]] for index in indices])
        for index, between in zip(indices, classified(table, rules, elements, amounts).between.tolist(), strict=True):
            found[index] = between
    return found


@cache
def known_formulas(name: str) -> list[Formula]:
    """Compositions of 2 to 6 elements, each once; none where LODE_TEST_DATA is unset."""
    path = Path(os.environ.get("LODE_TEST_DATA", "")) / DATA[name]
    if "LODE_TEST_DATA" not in os.environ or not path.exists():
        return []
    columns = pq.read_schema(path).names
    column = next(one for one in ("formula", "composition") if one in columns)
    found = {parsed(formula) for formula in pq.read_table(path, columns=[column])[column].to_pylist()}
    return sorted(one for one in found if 2 <= len(one) <= 6 and max(count for _, count in one) < 256)


def parsed(formula: str) -> Formula:
    amounts: defaultdict[int, int] = defaultdict(int)
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        amounts[ATOMIC_NUMBERS[symbol]] += int(count or 1)
    divisor = gcd(*amounts.values())
    return tuple(sorted((number, count // divisor) for number, count in amounts.items()))


def coverage(quick: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    heads = ("strict", "one", "two", "random:", "one", "two")
    print(f"\n{'coverage':24}{'compositions':>14}" + "".join(f"{head:>10}" for head in heads))
    for name in DATA:
        known = [one for one in known_formulas(name) if not metals_alone(one)]
        if not known:
            print("LODE_TEST_DATA isn't set")
            return {}
        known = [known[place] for place in np.random.default_rng(0).permutation(len(known))[: 4_000 if quick else None]]
        drawn = random_formulas(known)
        for setting, (states, ordered) in SETTINGS.items():
            table = StateTable.of(states(SYMBOLS[1:104]))
            shares = [cumulated(passing(table, Rules(2, ordered), one)) for one in (known, drawn)]
            print(f"{name + ', ' + setting:24}{len(known):14,}" + "".join(f"{one:10.1%}" for one in chain(*shares)))
            key = f"{name}_{re.sub('[^a-z0-9]+', '_', setting)}"
            for kind, row in zip(("known", "random"), shares, strict=True):
                found |= {f"{key}_{kind}_{rule}": one for rule, one in zip(("strict", "one", "two"), row, strict=True)}
    return found


def metals_alone(formula: Formula) -> bool:
    return all(is_metal(number) for number, _ in formula)


@cache
def is_metal(number: int) -> bool:
    return bool(Element.from_Z(number).is_metal)


def random_formulas(known: Sequence[Formula], seed: int = 0) -> list[Formula]:
    """The amounts of the known ones in any order, with other elements of theirs, at least one of them a non-metal."""
    rng = np.random.default_rng(seed)
    elements = sorted({number for formula in known for number, _ in formula})
    found: list[Formula] = []
    for formula in known:
        while True:
            numbers = np.sort(rng.choice(elements, len(formula), replace=False)).tolist()
            amounts = rng.permutation([count for _, count in formula]).tolist()
            drawn = tuple(zip(numbers, amounts, strict=True))
            if not metals_alone(drawn):
                break
        found.append(drawn)
    return found


def cumulated(between: Sequence[int]) -> list[float]:
    """Shares with none, up to one, up to two elements between states."""
    counts = np.bincount(between, minlength=4)[:3]
    return [float(share) for share in np.cumsum(counts) / len(between)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer systems, some seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
