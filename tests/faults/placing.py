"""A placing process for tests: `python -m tests.faults.placing URL LEASE BATCH`, until it is stopped."""

from __future__ import annotations

import sys

from registry.database import engine_for
from workers.loop import Loop
from workers.place import PlaceDaemon


def main() -> None:
    url, lease, batch = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    daemon = PlaceDaemon()
    daemon.lease_seconds, daemon.batch = lease, batch
    loop = Loop(engine_for(url), [daemon], poll_seconds=0.1)
    loop.stop_on_signals()
    loop.run()


if __name__ == "__main__":
    main()
