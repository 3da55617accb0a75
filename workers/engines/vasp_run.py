"""One calculation with VASP, as a program: python -m workers.engines.vasp_run, in a folder that holds job.json.

It runs the stages of a workflow, each through custodian in a folder of its own, and checks what every one has left:
that it is of this very run, converged, and by which inputs in the end. MPI starts VASP, not this program.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from custodian.custodian import ReturnCodeError, ValidationError
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from pymatgen.io.vasp.outputs import Vasprun

from registry.crystal import Crystal
from registry.states import ErrorClass
from workers.engines.base import MAX_VOLUME_CHANGE
from workers.engines.program import JOB, ends_well, write_result
from workers.engines.vasp_changes import complaint, differences, kpoints_told
from workers.engines.vasp_custodian import Run, run_vasp
from workers.engines.vasp_faults import Failed, failure_of
from workers.engines.vasp_inputs import (
    IONIC,
    Known,
    Stage,
    hand_of,
    input_set,
    reordered,
    sorted_order,
    stages_of,
    turned,
    write_inputs,
)
from workers.engines.vasp_outputs import MISREAD, Notes, as_frame, gap_of, magnetism_in, of_another_run, stress_of


def main() -> None:
    """Do the job of this folder. What goes wrong is written down, and the program ends well; a full disk has a code."""
    warnings.simplefilter("ignore")  # pymatgen's, of runs that aren't converged and of potentials that it doesn't know
    ends_well(_main)


def _main() -> None:
    chain = Chain(json.loads(Path(JOB).read_text()), Path.cwd())
    try:
        with chain.notes:
            result = chain.run()
    except Failed as failure:
        result = {**failure.told, "changes": chain.changes}
    write_result(result)


class Chain:
    """The stages of one calculation; the structure goes from each to the next.

    job: as `job_of` makes it, and besides `mesh_coords`, `resumed`, `command`, `potcars` (element -> file), and
    `machine_tags` and `changes`, tags over those that the level's settings give
    """

    def __init__(self, job: Mapping[str, Any], folder: Path) -> None:
        self.job, self.folder, self.settings = job, folder, job["settings"]
        begin = Crystal(job["lattice"], job["numbers"], job["coords"])
        mesh_of = Crystal(job["mesh_lattice"], job["numbers"], job["mesh_coords"])
        self.order, self.hand = sorted_order(begin), hand_of(begin)
        self.crystal, self.mesh_of = (turned(reordered(one, self.order), self.hand) for one in (begin, mesh_of))
        self.known = Known()
        self.notes = Notes(folder, self.order, self.hand)
        self.moment: float | None = None
        self.told: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}
        self.complaints: list[str] = []

    def run(self) -> dict[str, Any]:
        """As result.json holds it. Raise Failed."""
        stages, result = stages_of(self.settings, self.job["task"], self.job["resumed"]), dict[str, Any]()
        for stage in stages:
            if stage.along_bands:
                self._along_bands(stage, result)
            else:
                result = self._result(self._stage(stage), stage)
                self._check_forces(result, stages)
        return {
            **result,
            "stages": self.told,
            "changes": self.changes,
            "incompatible": "; ".join(self.complaints) or None,
        }

    def _stage(self, stage: Stage) -> Vasprun:
        """Run it to a result that can be trusted."""
        vasprun, run = self._run(stage)
        check_whole(stage, run, vasprun)
        self._record(stage, run, vasprun)
        if stage.relaxes:
            self.crystal = Crystal.from_pymatgen(vasprun.final_structure)
            self._check_volume(stage)
        self.moment, moments = magnetism_in(run.folder / "OUTCAR", self.crystal.nsites)
        self.known = replace(self.known, moments=moments, bands=int(vasprun.parameters["NBANDS"]))
        if stage.first:
            self.known = replace(self.known, gap=gap_of(vasprun))
        return vasprun

    def _run(self, stage: Stage) -> tuple[Vasprun, Run]:
        folder = self.folder / stage.name
        write_inputs(folder, self._given(stage), self.job["potcars"], self._other_tags(stage))
        if stage.along_bands and (density := self.folder / "static" / "CHGCAR").exists():
            shutil.copy(density, folder)
        before = self.notes.follow if stage.relaxes and not stage.first else _nothing
        run = _run(folder, tuple(self.job["command"]), self.settings, before)
        self.notes.follow(None)
        if run.error is not None:
            self.changes[stage.name] = {"corrections": run.corrections}
            gave_up = not isinstance(run.error, ValidationError | ReturnCodeError)
            raise failure_of(stage.name, run, gave_up, _converged_electronic(folder))
        return _read(stage, run), run

    def _other_tags(self, stage: Stage) -> dict[str, Any]:
        """Over those of the level."""
        changes = {tag: value for tag, value in self.job["changes"].items() if stage.relaxes or tag not in IONIC}
        return {**self.job["machine_tags"], **({} if stage.along_bands else changes)}

    def _given(self, stage: Stage) -> Any:
        return input_set(stage, self.crystal, self.mesh_of, self.settings, self.known)

    def _record(self, stage: Stage, run: Run, vasprun: Vasprun) -> None:
        """What it converged to by which inputs, and what differs from those that were asked for."""
        given = self._given(stage)
        asked, used = Incar.from_str(str(given.incar)), Incar.from_file(run.folder / "INCAR")
        changes = differences(asked, used)
        meshes = kpoints_told(given.kpoints), kpoints_told(_kpoints(run.folder))
        if meshes[0] != meshes[1]:
            changes["KPOINTS"] = meshes
        if changes or run.corrections:
            self.changes[stage.name] = {"tags": changes, "corrections": run.corrections}
        if (bad := complaint(changes, stage.relaxes or stage.first)) is not None:
            self.complaints.append(f"{stage.name} ran with other inputs than the level's: {bad}")
        self.told[stage.name] = {
            **{tag.lower(): used[tag] for tag in ("ENCUT", "EDIFF", "EDIFFG") if tag in used},
            "kpoints": kpoints_told(vasprun.kpoints),
            "ionic_steps": len(vasprun.ionic_steps),
            "electronic_steps": len(vasprun.ionic_steps[-1]["electronic_steps"]),
            "converged": True,
        }

    def _result(self, vasprun: Vasprun, stage: Stage) -> dict[str, Any]:
        step, structure = vasprun.ionic_steps[-1], vasprun.final_structure
        frame = {
            "lattice": structure.lattice.matrix,
            "coords": structure.frac_coords,
            "energy": float(vasprun.final_energy),
            "forces": step["forces"],
            "stress": stress_of(step["stress"]),
        }
        if not all(np.isfinite(part).all() for part in frame.values()):
            raise Failed(ErrorClass.GEOMETRY_EXPLODED, f"{stage.name}: forces or energy are no finite numbers")
        incar = Incar.from_file(self.folder / stage.name / "INCAR")
        symbols = Poscar.from_file(self.folder / stage.name / "POSCAR").site_symbols
        return {
            **as_frame(frame, self.order, self.hand),
            "gap": gap_of(vasprun),
            "vasp": str(vasprun.vasp_version).strip(),
            "hubbards": dict(zip(symbols, incar.get("LDAUU", []), strict=False)) if incar.get("LDAU") else {},
            "moment": self.moment,
            "fermi": vasprun.efermi,
        }

    def _along_bands(self, stage: Stage, result: dict[str, Any]) -> None:
        """The gap by k-points on lines, where the edges of bands often lie. Without it the label is a label still."""
        self.known = replace(self.known, gap=result["gap"] or 0.0)
        try:
            vasprun, run = self._run(stage)
            check_whole(stage, run, vasprun)
            gaps = [result["gap"], gap_of(vasprun, result["fermi"])]
        except Failed as failure:
            self.told[stage.name] = {"converged": False, "error": f"{failure.error_class}: {failure}"}
            return
        result["gap"] = min((gap for gap in gaps if gap is not None), default=None)
        told = {"points": len(vasprun.actual_kpoints), "corrections": run.corrections}
        self.told[stage.name] = {"converged": True, **told}

    def _check_volume(self, stage: Stage) -> None:
        ratio = self.crystal.volume / self.mesh_of.volume
        if not 1 / MAX_VOLUME_CHANGE < ratio < MAX_VOLUME_CHANGE:
            raise Failed(ErrorClass.GEOMETRY_EXPLODED, f"{stage.name}: volume changed {ratio:.2f}-fold")

    def _check_forces(self, result: Mapping[str, Any], stages: list[Stage]) -> None:
        """Of the static run. Relaxations that end by the energy, as MPRelaxSet's do, may end on a slope."""
        last = next((stage for stage in reversed(stages) if stage.relaxes), None)
        if "static" not in self.told or last is None or self.told[last.name].get("ediffg", 1.0) < 0:
            return
        largest = float(np.linalg.norm(np.reshape(result["forces"], (-1, 3)), axis=1).max())
        if largest > self.settings["force_tolerance"]:
            message = f"{largest:.3f} eV/A are left where the energy had converged"
            raise Failed(ErrorClass.NOT_CONVERGED_IONIC, message)


def check_whole(stage: Stage, run: Run, vasprun: Vasprun) -> None:
    """Raise Failed for a result of another run, or one that isn't converged."""
    if (other := of_another_run(run.folder / "vasprun.xml")) is not None:
        message = f"{stage.name}: VASP ended without a result of its own; vasprun.xml is of another run: {other}"
        raise Failed(ErrorClass.KILLED, message, log_tail=run.tail or None)
    if not vasprun.converged_electronic:
        steps = vasprun.parameters["NELM"]
        raise Failed(ErrorClass.NOT_CONVERGED_ELECTRONIC, f"{stage.name}: no density in {steps} steps", None, run.tail)
    most = int(vasprun.parameters.get("NSW", 0))
    if stage.relaxes and len(vasprun.ionic_steps) >= most:
        raise Failed(ErrorClass.NOT_CONVERGED_IONIC, f"{stage.name}: not at rest after {most} steps", None, run.tail)


def _run(folder: Path, command: tuple[str, ...], settings: Mapping[str, Any], before: Any) -> Run:
    try:
        return run_vasp(folder, command, settings, before)
    except OSError as error:
        if error.filename != command[0]:
            raise
        message = f"{command[0]} can't be run: {error.strerror}; LODE_VASP holds the words of VASP's command"
        raise Failed(ErrorClass.MISSING_ENGINE, message) from error


def _read(stage: Stage, run: Run) -> Vasprun:
    try:
        vasprun = Vasprun(run.folder / "vasprun.xml", parse_potcar_file=False)
        assert vasprun.ionic_steps[-1]["electronic_steps"]
    except (*MISREAD, AssertionError) as error:
        message = f"{stage.name}: VASP left no whole result: {' '.join(str(error).split())[:200]}"
        raise Failed(ErrorClass.KILLED, message, log_tail=run.tail or None) from error
    return vasprun


def _converged_electronic(folder: Path) -> bool | None:
    try:
        return bool(Vasprun(folder / "vasprun.xml", parse_potcar_file=False).converged_electronic)
    except MISREAD:
        return None


def _kpoints(folder: Path) -> Any:
    return Kpoints.from_file(folder / "KPOINTS") if (folder / "KPOINTS").exists() else None


def _nothing(_path: Path | None) -> None:
    """The steps of a stage before the level's own are none of the level's."""


if __name__ == "__main__":
    main()
