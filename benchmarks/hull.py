"""Our hulls: against pymatgen's and published ones, how time grows, one insertion, labels a second.

    python -m benchmarks.hull [--quick]

Ratios are of one run, ours from `Entry` objects (benchmarks/hull_peers.py says how): against PatchedPhaseDiagram of the
seconds that a user waits, ours on two threads, and of CPU seconds, ours on one; against PhaseDiagram of CPU seconds.
Rebuilds are of synthetic columns (benchmarks/hull_data.py) on 2 threads, each size in a process of its own; ours
are the best of a few runs, since others may work on the machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

from benchmarks.hull_data import synthetic_entries
from benchmarks.hull_growth import measured
from benchmarks.hull_labels import labels_a_second
from benchmarks.hull_peers import against_diagrams, against_patched, against_published
from registry.hull.geometry import warm

LARGE = 150_000
SIZES = (150_000, 500_000, 1_000_000, 2_200_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sets, under a minute")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    print(f"solver ready after {warm():.1f} s", flush=True)
    found = peers(quick) | growth(quick) | labels(quick)
    print(json.dumps({"quick": quick, **found}))


def peers(quick: bool) -> dict[str, Any]:
    patched = against_patched(2_000 if quick else 15_000)
    sample = against_diagrams(synthetic_entries(15_000 if quick else LARGE), 60 if quick else 660)
    published = against_published(10 if quick else 300)
    rows = {"PatchedPhaseDiagram": patched, "PhaseDiagram per system": sample, **published}
    print_peers(rows)
    print(
        f"PatchedPhaseDiagram and ours differ by up to {patched['raw_difference']:.1e} eV/atom; "
        f"pymatgen's PhaseDiagram doesn't confirm {patched['unconfirmed']} of its energies\n"
        f"its ratio is of seconds waited for, ours on two threads; of CPU seconds it is {patched['cpu_ratio']:,.0f}"
    )
    compared = {f"{name}_diff": row["difference"] for name, row in published.items()}
    own = {
        name: row for name, row in published.get("mp_critexam", {}).items() if "published" in name or "within" in name
    }
    return {
        "ratio_ppd_2k" if quick else "ratio_ppd_15k": patched["ratio"],
        "cpu_ratio_ppd_2k" if quick else "cpu_ratio_ppd_15k": patched["cpu_ratio"],
        "ratio_pd_sample": sample["ratio"],
        "max_abs_diff": max(row["difference"] for row in rows.values()),
        "ppd_diff": patched["difference"],
        "ppd_raw_diff": patched["raw_difference"],
        "ppd_unconfirmed_by_pd": patched["unconfirmed"],
        "pd_sample_diff": sample["difference"],
        **compared,
        **{f"mp_critexam_{name}": value for name, value in own.items()},
    }


def print_peers(rows: dict[str, dict[str, float]]) -> None:
    heads = ("entries", "ours, CPU s", "theirs, CPU s", "ratio", "difference, eV/atom")
    print(f"{'against':26}" + "".join(f"{head:>21}" for head in heads))
    for name, row in rows.items():
        cells = [f"{row[key]:{form}}" if key in row else "" for key, form in (("ours", ".4f"), ("pymatgen", ".2f"))]
        cells += [f"{row['ratio']:,.0f}" if "ratio" in row else "", f"{row['difference']:.1e}"]
        print(f"{name:26}{row['entries']:>21,}" + "".join(f"{cell:>21}" for cell in cells), flush=True)


def growth(quick: bool) -> dict[str, Any]:
    """Insertions at the smallest and at the largest size."""
    sizes = SIZES[:1] if quick else SIZES
    rows = []
    print(f"\n{'rebuild':>10}{'systems':>10}{'stable':>9}{'wall s':>9}{'CPU s':>8}{'entries/s':>11}{'peak GB':>9}")
    for size in sizes:
        row = measured(size, insert=2_000 if size in (sizes[0], sizes[-1]) else 0)
        rate, shape = row["entries"] / row["wall"], f"{row['entries']:>10,}{row['systems']:>10,}{row['stable']:>9,}"
        print(f"{shape}{row['wall']:>9.2f}{row['cpu']:>8.2f}{rate:>11,.0f}{row['peak_gb']:>9.2f}", flush=True)
        rows.append(row)
    print_insertions(rows)
    keys = {f"rebuild_{name(row['entries'])}": {k: v for k, v in row.items() if k != "insert"} for row in rows}
    inserted = {f"insert_{name(row['entries'])}": row["insert"] for row in rows if "insert" in row}
    large = rows[0]["entries"] / rows[0]["wall"]
    return {"entries_per_s": large, "entries_per_cpu_s": rows[0]["entries"] / rows[0]["cpu"], **keys, **inserted}


def name(count: int) -> str:
    return f"{count // 1000}k" if count < 1_000_000 else f"{count / 1_000_000:g}m"


def print_insertions(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'one insertion, ms, at':>22}{'stable':>9}{'unstable':>10}{'p99':>8}{'max':>9}{'unlike a rebuild':>22}")
    for row in rows:
        if "insert" in row:
            one = row["insert"]
            times = f"{one['stable_ms']:>9.3f}{one['unstable_ms']:>10.3f}{one['p99_ms']:>8.2f}{one['max_ms']:>9.1f}"
            equal = f"{one['differing']} of {one['compared']:,}"
            print(f"{row['entries']:>22,}{times}{equal:>22}", flush=True)


def labels(quick: bool) -> dict[str, Any]:
    found = labels_a_second(*((2_000, 3_000) if quick else (20_000, 20_000)))
    print(
        f"\n{found['labels']:,} labels onto {found['placed_before']:,}: "
        f"{found['labels_per_s']:,.0f} a second until their states are visible"
    )
    return {"labels_per_s": found["labels_per_s"], "labels": found}


if __name__ == "__main__":
    main()
