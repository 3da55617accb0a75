"""All that is claimed of the predictors, part by part.

    python -m benchmarks.predictors [--quick] [--parts NAME,...]

Each part is a script of its own, benchmarks/predictors_NAME.py, which says what it measures, against whom, and what
data it wants. Here they run one after the other; a part that can't be measured on this machine says why, and the
others go on.
The last line is JSON: part -> its figures, with its seconds.
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

PARTS = (
    "accuracy",
    "calibration",
    "peers",
    "scoring",
    "backends",
    "scaling",
    "composition",
    "potentials",
    "origin",
    "unrelaxed",
)


def measured(part: str, quick: bool) -> dict[str, Any]:
    """The figures of one part, which prints its own table; or why it can't be measured."""
    print(f"\n== {part}", flush=True)
    began = time.monotonic()
    try:
        figures: dict[str, Any] = import_module(f"benchmarks.predictors_{part}").measure(quick)
    except (ImportError, OSError, PredictorError, SystemExit) as reason:  # a peer, the data, or the model
        print(f"not measured: {reason}", flush=True)
        return {"not_measured": str(reason)}
    except Exception as error:  # noqa: BLE001 - a peer's or ours: the figures of the other parts are hours of work
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}
    return {**figures, "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="within 60 s")
    arguments.add_argument("--parts", default=",".join(PARTS), metavar="NAME,...")
    asked = arguments.parse_args()
    if unknown := set(asked.parts.split(",")) - set(PARTS):
        arguments.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    figures = {part: measured(part, asked.quick) for part in asked.parts.split(",")}
    print(json.dumps(figures))
    sys.exit(any("failed" in part for part in figures.values()))


if __name__ == "__main__":
    main()
