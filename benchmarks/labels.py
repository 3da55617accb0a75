"""How good labels are, and how fast they come: part by part.

    python -m benchmarks.labels [--quick] [--parts NAME,...] [--level NAME]

Each part is a script of its own, benchmarks/labels_NAME.py, which says what it measures and against what. LEVEL is that
of a potential, 7net-0 unless told. Here they run one after the other; a part that can't be measured on this machine
says why, and the others go on. The last line is JSON: part -> its figures, with its seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from importlib import import_module
from typing import Any

from predictors.errors import PredictorError
from predictors.potentials.named import POTENTIALS
from registry.errors import LodeError
from registry.threads import one_thread_each

PARTS = ("lattice", "formation", "throughput", "overhead")


def measured(part: str, level: str, quick: bool) -> dict[str, Any]:
    """The figures of one part, which prints its own table; or why it can't be measured."""
    print(f"\n== {part}", flush=True)
    began = time.monotonic()
    try:
        figures: dict[str, Any] = import_module(f"benchmarks.labels_{part}").measure(level, quick)
    except (ImportError, OSError, PredictorError, LodeError, SystemExit) as reason:  # the potential, data, PostgreSQL
        print(f"not measured: {reason}", flush=True)
        return {"not_measured": str(reason)}
    except Exception as error:  # noqa: BLE001 - the figures of the other parts are many minutes of work
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}
    return {**figures, "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    one_thread_each()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="within 60 s")
    arguments.add_argument("--parts", default=",".join(PARTS), metavar="NAME,...")
    arguments.add_argument("--level", default="7net-0", choices=list(POTENTIALS))
    asked = arguments.parse_args()
    if unknown := set(asked.parts.split(",")) - set(PARTS):
        arguments.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    figures = {part: measured(part, asked.level, asked.quick) for part in asked.parts.split(",")}
    print(json.dumps({"level": asked.level, **figures}))
    sys.exit(any("failed" in part for part in figures.values()))


if __name__ == "__main__":
    main()
