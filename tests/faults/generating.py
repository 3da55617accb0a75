"""A fused generation for tests: `python -m tests.faults.generating URL LEVEL_ID BATCH`."""

from __future__ import annotations

import sys

from registry.database import engine_for
from workers import generate
from workers.campaign import CampaignSettings, propose
from workers.candidates.generation import Settings
from workers.fused import Fused

FAMILY = ("Li", "Na", "K", "Ca", "Mg", "F", "Cl", "Br", "O", "S")


def main() -> None:
    url, level_id, generate.BATCH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    candidates = Settings(max_sites=6, per_parent=20, partial_per_parent=5)
    settings = CampaignSettings("killed", FAMILY, candidates=candidates, fused=Fused(threshold=-0.1, margin=0.0))
    propose(engine_for(url), level_id, settings, lambda _title, _done, _total: None)


if __name__ == "__main__":
    main()
