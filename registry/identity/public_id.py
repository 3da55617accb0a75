"""The name of a crystal that its arrays give it."""

from __future__ import annotations

import base64
import hashlib

import numpy as np

from registry.crystal import Crystal


def public_id(crystal: Crystal) -> str:
    """`lode-` and 60 bits of the SHA-256 of the arrays: the same row has the same id in every registry."""
    content = hashlib.sha256()
    for array, kind in ((crystal.lattice, "<f8"), (crystal.numbers, "<i2"), (crystal.frac_coords, "<f8")):
        content.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return "lode-" + base64.b32encode(content.digest()).decode().lower()[:12]
