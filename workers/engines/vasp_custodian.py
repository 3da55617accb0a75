"""Custodian as it runs VASP here: its handlers as the Materials Project has them, and a job that is watched.

Ong et al., Comput. Mater. Sci. 68, 314 (2013). Imported by the program alone (workers/engines/vasp_run.py).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custodian.custodian import Custodian, CustodianError
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    IncorrectSmearingHandler,
    KspacingMetalHandler,
    LargeSigmaHandler,
    MeshSymmetryErrorHandler,
    NonConvergingErrorHandler,
    PositiveEnergyErrorHandler,
    PotimErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
)
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from pymatgen.io.vasp.inputs import Incar

from workers.engines.process import killed_for_memory, tail_of
from workers.engines.vasp_changes import action_told
from workers.engines.vasp_outputs import BEGUN

OUT, ERR = "vasp.out", "std_err.txt"
MOST_HANGS = 2
OUTPUTS = ("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR", "XDATCAR", "EIGENVAL", "DOSCAR", "PROCAR", "IBZKPT", "PCDAT")


class WatchedJob(VaspJob):
    """VASP, begun without anything that an earlier run might have left, in a process group of our own session.

    Custodian's own job would give it a session of its own, in which it outlives us when we are killed.
    """

    note: Callable[[Path | None], None]
    terminated = False

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start it. OSError where there is no such program."""
        folder = Path(directory)
        self.note(None)
        self.terminated = False
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        for name, copy in BEGUN.items():
            (folder / copy).write_bytes((folder / name).read_bytes())
        self.note(folder / "vasprun.xml")
        with (folder / OUT).open("wb") as said, (folder / ERR).open("wb") as told:
            self._vasp_process = subprocess.Popen(
                self.vasp_cmd, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=told, process_group=0
            )
        return self._vasp_process

    def terminate(self, directory: str = "./") -> None:
        self.terminated = True
        super().terminate(directory)

    def end(self) -> None:
        """Leave nothing running, whatever made custodian stop."""
        if getattr(self, "_vasp_process", None) is not None and self._vasp_process.poll() is None:
            self.terminate()

    @property
    def code(self) -> int | None:
        """How the last start ended: its exit code, negative for a signal; None where it never began, or we ended it."""
        started = getattr(self, "_vasp_process", None)
        return None if started is None or self.terminated else started.poll()


class Frozen(FrozenJobErrorHandler):
    """Tries again twice: a node on which VASP hangs thrice is not where it should go on."""

    def correct(self, directory: str = "./") -> dict[str, Any]:
        if self.n_applied_corrections >= MOST_HANGS:
            return {"errors": ["Frozen job"], "actions": None}
        corrected: dict[str, Any] = super().correct(directory)
        return corrected


@dataclass
class Run:
    """One stage as it was run.

    error: what custodian gave up with; code: as WatchedJob has it; out_of_memory: whether the kernel killed meanwhile
    corrections: of each the handler, the errors that it saw, and its actions in words
    """

    folder: Path
    error: CustodianError | None = None
    code: int | None = None
    out_of_memory: bool = False
    corrections: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tail(self) -> str:
        """The last words of VASP on both of its outputs."""
        return "".join(tail_of(self.folder / name) for name in (OUT, ERR) if (self.folder / name).exists())


class Positive(PositiveEnergyErrorHandler):
    """Tries a static run again once. Custodian halves POTIM there, too, since its INCAR leaves IBRION to VASP."""

    def correct(self, directory: str = "./") -> dict[str, Any]:
        moves = Incar.from_file(Path(directory) / "INCAR").get("NSW", 0) > 0
        if self.n_applied_corrections and not moves:
            return {"errors": ["Positive energy"], "actions": None}
        corrected: dict[str, Any] = super().correct(directory)
        return corrected


def run_vasp(
    folder: Path, command: tuple[str, ...], settings: Mapping[str, Any], note: Callable[[Path | None], None]
) -> Run:
    """Run what the folder's inputs say until custodian is content or gives up. OSError where VASP isn't there.

    note: called at every start, first with None, when nothing more comes of the start before, then with the
        vasprun.xml that VASP is about to write
    """
    job = WatchedJob(command, output_file=OUT, stderr_file=ERR, auto_gamma=False)
    job.note = note
    custodian = Custodian(
        _handlers(settings["frozen_seconds"]),
        [job],
        validators=[VasprunXMLValidator(OUT, ERR), VaspFilesValidator()],
        max_errors=settings["max_errors"],
        polling_time_step=settings["poll_seconds"],
        monitor_freq=settings["polls_per_check"],
        skip_over_errors=True,  # a handler that fails on half a file must not take the run along
        directory=str(folder),
    )
    run, killed = Run(folder), killed_for_memory()
    try:
        custodian.run()
    except CustodianError as error:
        run.error = error
    finally:
        job.end()
    run.code, run.out_of_memory = job.code, killed_for_memory() > killed
    run.corrections = [_told(one) for log in custodian.run_log for one in log["corrections"] if not one.get("skipped")]
    return run


def _handlers(frozen_seconds: float) -> list[Any]:
    return [
        VaspErrorHandler(OUT),
        MeshSymmetryErrorHandler(OUT),
        UnconvergedErrorHandler(),
        NonConvergingErrorHandler(),
        PotimErrorHandler(),
        Positive(),
        Frozen(OUT, timeout=frozen_seconds),
        StdErrHandler(ERR),
        LargeSigmaHandler(),
        IncorrectSmearingHandler(),
        KspacingMetalHandler(),
    ]


def _told(correction: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "handler": type(correction["handler"]).__name__,
        "errors": sorted(str(error) for error in correction["errors"]),
        "actions": [action_told(action) for action in correction["actions"] or ()],
    }
    whole: dict[str, Any] = json.loads(json.dumps(told))
    return whole
