"""Why a run of VASP failed: the class of what custodian gave up on, or of how VASP itself ended."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.states import ErrorClass
from workers.engines.process import Ended, class_of

SHELL = 128
"""Shells, and mpirun, end with this plus the number of the signal that ended their program."""

ROOM = 1 << 20  # bytes that a disk has left that isn't full
NO_MEMORY = ("insufficient virtual memory", "exceed memory limit", "cannot allocate memory", "oom-kill", "oom_kill")
CLASSES: Mapping[str, ErrorClass] = {
    **dict.fromkeys(("zbrent", "brions", "fexcf"), ErrorClass.NOT_CONVERGED_IONIC),
    **dict.fromkeys(("zpotrf", "POTIM"), ErrorClass.GEOMETRY_EXPLODED),
    "Positive energy": ErrorClass.UNPHYSICAL_ENERGY,
    "Frozen job": ErrorClass.KILLED,
    "out_of_memory": ErrorClass.OUT_OF_MEMORY,
    "set_core_wf": ErrorClass.MISSING_DATASET,
    "read_error": ErrorClass.BUG,
    "spin_polarized_harris": ErrorClass.BUG,
}
"""By custodian's name of an error; every other means that VASP found no self-consistent density."""


class Failed(Exception):
    """error_class: of registry.states.ErrorClass; signal, log_tail: of VASP where it says more than its absence."""

    def __init__(self, error_class: str, message: str, signal: str | None = None, log_tail: str | None = None) -> None:
        super().__init__(message)
        self.error_class, self.signal, self.log_tail = error_class, signal, log_tail

    @property
    def told(self) -> dict[str, Any]:
        """As result.json holds it."""
        return {
            "error_class": self.error_class,
            "error": str(self),
            "signal": self.signal,
            "log_tail": self.log_tail,
        }


def failure_of(stage: str, run: Any, gave_up_on_errors: bool, converged_electronic: bool | None) -> Failed:
    """Of a run that custodian gave up.

    run: workers.engines.vasp_custodian.Run; gave_up_on_errors: whether handlers had no more to try, else there is no
    result though no handler saw why; converged_electronic: of the last ionic step, where there is one
    """
    ended = ended_of(run.code, run.tail, run.out_of_memory)
    error_class = _of_machine(run.folder, ended)
    errors = run.corrections[-1]["errors"] if gave_up_on_errors and run.corrections else []
    if error_class is None and errors:
        error_class = class_of_errors(errors, converged_electronic)
    if error_class is None:
        error_class = class_of_end(ended)
    return Failed(error_class, _message(stage, ended, errors, len(run.corrections)), ended.signal, run.tail or None)


def ended_of(code: int | None, tail: str, out_of_memory: bool) -> Ended:
    """How VASP ended, a signal known by its number as by what a shell or mpirun makes of it."""
    number = -code if code is not None and code < 0 else (code or 0) - SHELL
    known = signal.Signals(number).name if number in set(signal.Signals) else None
    return Ended(None if known else code, known, tail, 0.0, out_of_memory and known == "SIGKILL")


def class_of_errors(errors: Sequence[str], converged_electronic: bool | None) -> ErrorClass:
    """Of the errors of the last correction, by custodian's names."""
    if "Unconverged" in errors and converged_electronic:
        return ErrorClass.NOT_CONVERGED_IONIC
    known = [CLASSES[error] for error in errors if error in CLASSES]
    return known[0] if known else ErrorClass.NOT_CONVERGED_ELECTRONIC


def class_of_end(ended: Ended) -> ErrorClass:
    """Of a run without a result. What ended well, but before its end, somebody has ended."""
    return ErrorClass.KILLED if ended.signal is None and not ended.code else class_of(ended)


def _of_machine(folder: Path, ended: Ended) -> ErrorClass | None:
    """Whether memory or disk were too small."""
    said = ended.tail.lower()
    if any(words in said for words in NO_MEMORY):
        return ErrorClass.OUT_OF_MEMORY
    if shutil.disk_usage(folder).free < ROOM:
        return ErrorClass.DISK_FULL
    found = class_of(ended)
    return found if found in (ErrorClass.OUT_OF_MEMORY, ErrorClass.DISK_FULL) else None


def _message(stage: str, ended: Ended, errors: Sequence[str], corrections: int) -> str:
    if errors:
        tried = f"after {corrections} corrections" if corrections > 1 else "without a correction that helps"
        return f"{stage}: custodian gave up on {', '.join(errors)} {tried}"
    if ended.signal:  # mpirun's last words are a line of dashes
        return f"{stage}: VASP ended by {ended.signal}"
    return f"{stage}: VASP {ended}" if ended.code else f"{stage}: VASP left no whole result"
