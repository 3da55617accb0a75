"""The closed sets of words that the database stores as text with a CHECK (a test compares the two)."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """Where a structure row came from."""

    IMPORTED = "imported"
    GENERATED = "generated"
    RELAXED = "relaxed"


class Operation(StrEnum):
    """How a candidate was made."""

    IONIC_SUBSTITUTION = "ionic_substitution"
    PARTIAL_SUBSTITUTION = "partial_substitution"
    RANDOM_SEARCH = "random_search"  # from no parent


class Task(StrEnum):
    """What a calculation did."""

    RELAX = "relax"
    STATIC = "static"


class CalculationState(StrEnum):
    """How an attempt at a calculation ended."""

    CONVERGED = "converged"
    FAILED = "failed"


class ErrorClass(StrEnum):
    """Why an attempt failed; the policy of each is in workers/retries.py."""

    NOT_CONVERGED_ELECTRONIC = "not_converged_electronic"
    NOT_CONVERGED_IONIC = "not_converged_ionic"
    GEOMETRY_EXPLODED = "geometry_exploded"
    OVERLAPPING_ATOMS = "overlapping_atoms"
    UNPHYSICAL_ENERGY = "unphysical_energy"
    UNPHYSICAL_VOLUME = "unphysical_volume"
    MISSING_ENGINE = "missing_engine"
    MISSING_DATASET = "missing_dataset"
    MISSING_REFERENCE = "missing_reference"
    UNSUPPORTED_ELEMENT = "unsupported_element"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    WALLTIME = "walltime"
    KILLED = "killed"
    NO_STRUCTURE = "no_structure"
    NODE_LOST = "node_lost"
    BUG = "bug"


class Stage(StrEnum):
    """How thoroughly a prediction was made: one member as the crystal stands, or all of them at the best volume."""

    SINGLE = "single"
    ENSEMBLE = "ensemble"


class Purpose(StrEnum):
    """What a structure was selected for."""

    REFERENCE = "reference"  # a known competing phase, labelled so that the hull means something
    REFINE = "refine"  # a promising candidate, to be scored by the whole ensemble
    RECHECK = "recheck"  # a candidate that a second model shall look at before it is labelled
    LABEL = "label"  # a candidate to be labelled


class Kind(StrEnum):
    """The kinds of work; each has a view of what is missing, a daemon and a test of the same name."""

    SEARCH = "search"
    SCORE = "score"
    REFINE = "refine"
    LABEL = "label"
    PLACE = "place"


class WorkState(StrEnum):
    """waiting -> running (claim) -> gone (finish) | waiting (fail, rescue) | dead (fail for the last time)."""

    WAITING = "waiting"
    RUNNING = "running"
    DEAD = "dead"
