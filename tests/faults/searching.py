"""A searching process for tests: `python -m tests.faults.searching URL LEASE SECONDS`, that long for each structure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Engine

from registry.database import engine_for
from registry.queue import Claim
from workers.loop import Loop, Outcome
from workers.search import SearchDaemon


class SlowSearch(SearchDaemon):
    def __init__(self, lease: float, seconds: float) -> None:
        self.lease_seconds, self._seconds = lease, seconds

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        def slow_beat() -> None:
            time.sleep(self._seconds)
            beat()

        return super().work(engine, claims, slow_beat)


def main() -> None:
    url, lease, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    loop = Loop(engine_for(url, "tests.faults.searching"), [SlowSearch(lease, seconds)], poll_seconds=0.1)
    loop.stop_on_signals()
    loop.run()


if __name__ == "__main__":
    main()
