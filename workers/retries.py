"""What happens to a row after a failed attempt, by the class of the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from registry.states import ErrorClass

MAX_ATTEMPTS = 3

Changes = Mapping[str, object]


class Then(StrEnum):
    """What the next attempt does."""

    CHANGED = "changed"  # goes another way, where the engine knows one that is as accurate
    ELSEWHERE = "elsewhere"  # runs on another host, where there is one
    AGAIN = "again"  # is as this one
    NEVER = "never"  # there is none: it would fail alike


@dataclass(frozen=True)
class Policy:
    """first_delay: seconds before the next attempt, doubled each time; resumes: it goes on from the last step."""

    then: Then
    first_delay: float = 0.0
    resumes: bool = False


POLICIES: Mapping[ErrorClass, Policy] = {
    ErrorClass.NOT_CONVERGED_ELECTRONIC: Policy(Then.CHANGED, resumes=True),
    ErrorClass.NOT_CONVERGED_IONIC: Policy(Then.CHANGED, resumes=True),
    ErrorClass.GEOMETRY_EXPLODED: Policy(Then.CHANGED),
    ErrorClass.OVERLAPPING_ATOMS: Policy(Then.NEVER),
    ErrorClass.UNPHYSICAL_ENERGY: Policy(Then.NEVER),
    ErrorClass.UNPHYSICAL_VOLUME: Policy(Then.NEVER),
    ErrorClass.UNSUPPORTED_ELEMENT: Policy(Then.NEVER),
    ErrorClass.MISSING_REFERENCE: Policy(Then.NEVER),  # placed with the whole level once the reference is there
    ErrorClass.NO_STRUCTURE: Policy(Then.NEVER),
    ErrorClass.MISSING_ENGINE: Policy(Then.ELSEWHERE, 60.0),
    ErrorClass.MISSING_DATASET: Policy(Then.ELSEWHERE, 60.0),
    ErrorClass.OUT_OF_MEMORY: Policy(Then.ELSEWHERE, 30.0, resumes=True),
    ErrorClass.DISK_FULL: Policy(Then.ELSEWHERE, 60.0, resumes=True),
    ErrorClass.WALLTIME: Policy(Then.AGAIN, resumes=True),
    ErrorClass.KILLED: Policy(Then.AGAIN, 5.0, resumes=True),
    ErrorClass.NODE_LOST: Policy(Then.AGAIN, 5.0),
    ErrorClass.BUG: Policy(Then.AGAIN, 5.0),
}


def retry_delay(error_class: str, attempts: int, changed: bool = False) -> float | None:
    """Seconds until the next attempt, or None when there shall be none. changed: whether another way is known."""
    policy = POLICIES[ErrorClass(error_class)]
    if attempts >= MAX_ATTEMPTS or policy.then is Then.NEVER or (policy.then is Then.CHANGED and not changed):
        return None
    return policy.first_delay * float(2 ** (attempts - 1))


def next_changes(remedies: Mapping[str, Sequence[Changes]], error_class: str, changes: Changes) -> Changes | None:
    """What an attempt after one with `changes` that failed so does otherwise; None: no other way is left.

    remedies: of the engine; of a class those are tried in order, on top of what other failures have changed
    """
    ladder = remedies.get(error_class, ())
    tried = [number for number, step in enumerate(ladder) if {**changes, **step} == changes]
    following = ladder[max(tried, default=-1) + 1 :]
    return {**changes, **following[0]} if following else None
