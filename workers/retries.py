"""What happens to a row after a failed attempt, by the class of the error."""

from __future__ import annotations

from registry.states import ErrorClass

MAX_ATTEMPTS = 3

# Seconds before the next attempt, doubled each time; None: another attempt would fail alike.
FIRST_DELAY: dict[ErrorClass, float | None] = {
    ErrorClass.NOT_CONVERGED_ELECTRONIC: None,
    ErrorClass.NOT_CONVERGED_IONIC: None,
    ErrorClass.GEOMETRY_EXPLODED: None,
    ErrorClass.UNPHYSICAL_ENERGY: None,
    ErrorClass.UNPHYSICAL_VOLUME: None,
    ErrorClass.UNSUPPORTED_ELEMENT: None,
    ErrorClass.MISSING_REFERENCE: None,  # placed with the whole level once the reference is there
    ErrorClass.NO_STRUCTURE: None,
    ErrorClass.MISSING_ENGINE: 60.0,  # another node may have it
    ErrorClass.MISSING_DATASET: 60.0,
    ErrorClass.OUT_OF_MEMORY: 30.0,
    ErrorClass.DISK_FULL: 60.0,
    ErrorClass.KILLED: 5.0,
    ErrorClass.NODE_LOST: 5.0,
    ErrorClass.BUG: 5.0,
}


def retry_delay(error_class: str, attempts: int) -> float | None:
    """Seconds until the next attempt, or None when there shall be none."""
    first = FIRST_DELAY[ErrorClass(error_class)]
    if first is None or attempts >= MAX_ATTEMPTS:
        return None
    return float(first * 2 ** (attempts - 1))
