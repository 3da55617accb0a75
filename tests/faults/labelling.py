"""A labelling daemon in a process of its own: python -m tests.faults.labelling URL LEASE STEP_SECONDS"""

from __future__ import annotations

import sys

from registry.database import engine_for
from tests.workers.standin import StandIn
from workers.label import LabelDaemon
from workers.loop import Loop


def main() -> None:
    url, lease, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    daemon = LabelDaemon(lambda _level: StandIn(seconds))
    daemon.lease_seconds = lease
    loop = Loop(engine_for(url, "tests.faults.labelling"), [daemon], poll_seconds=0.1)
    loop.stop_on_signals()
    loop.run()


if __name__ == "__main__":
    main()
