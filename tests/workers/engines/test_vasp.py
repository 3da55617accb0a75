"""VASP through the real custodian: a stand-in for it leaves genuine outputs, whole ones and ones that faults leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.errors import Drained, LabelFailure, MissingExtra
from registry.hull.levels import load_level
from registry.states import ErrorClass
from tests.workers.engines.standin_vasp import (
    LUTETIUM,
    PHOSPHATE,
    SILICON,
    StandInVasp,
    chain_of,
    laid_out,
    standin_vasp,
)
from workers.engines.base import Machine, Relaxation, Trajectory, check_plausible, engine_of
from workers.engines.vasp import ENERGIES, REMEDIES, Vasp, installed

pytestmark = [
    pytest.mark.skipif(find_spec("custodian") is None, reason="custodian isn't installed: make dft"),
    pytest.mark.filterwarnings("ignore"),  # pymatgen's, of potentials that it doesn't know
]

QUICK = {"poll_seconds": 0.05, "polls_per_check": 2, "max_errors": 4}
RELAXATION = Relaxation(0.5, 99)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return laid_out(tmp_path_factory.mktemp("vasp"), short=True)


@pytest.fixture
def vasp(genuine: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInVasp:
    return standin_vasp(tmp_path, genuine, monkeypatch)


def engine(vasp: StandInVasp, level: str = "vasp-mp", **other: Any) -> Vasp:
    return Vasp({**load_level(level).settings, **QUICK, **other}, vasp.machine)


def chain(vasp: StandInVasp, crystal: Crystal, task: str = "static", **other: Any) -> Any:
    """other: settings, and what else a job says."""
    job = {name: other.pop(name) for name in ("changes", "command", "resumed") if name in other}
    return chain_of(vasp.machine, vasp.folder / "work", crystal, task, {**QUICK, **other}, **job)


def result(vasp: StandInVasp, elements: str = SILICON, task: str = "static", **other: Any) -> dict[str, Any]:
    begun = chain(vasp, vasp.crystal(elements), task, **other)
    with begun.notes:
        found: dict[str, Any] = begun.run()
    return found


def failure(vasp: StandInVasp, task: str = "static", **other: Any) -> Any:
    from workers.engines.vasp_faults import Failed

    with pytest.raises(Failed) as raised:
        result(vasp, SILICON, task, **other)
    return raised.value


def frames(vasp: StandInVasp) -> int:
    path = vasp.folder / "work" / "frames.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()


def test_two_relaxations_and_a_static_run_make_a_label(vasp: StandInVasp):
    trajectory, made = Trajectory(), engine(vasp)
    label = made.relax(vasp.crystal(SILICON), RELAXATION, trajectory)
    assert vasp.stages == ["relax1", "relax2", "static"]
    assert [start["tags"]["NSW"] for start in vasp.starts] == ["99", "99", "0"]
    assert label.energy == -17.54958326
    assert label.gap == pytest.approx(0.7873)
    assert label.stress[:3] == pytest.approx([0.45531447 / 1602.1766208] * 3)
    assert (label.changes, label.incompatible) == ({}, None)
    assert [frame.energy for frame in trajectory.frames] == [-17.54951927, -17.54953832, -17.54958326] * 2
    assert label.steps == 5
    assert trajectory.frames[-1].crystal.lattice == pytest.approx(label.crystal.lattice, abs=1e-6)
    assert made.version.startswith("vasp 6.4.1, custodian ")
    assert len(label.datasets["Si"]) == 64
    assert label.convergence["stages"]["static"]["electronic_steps"] == 2  # type: ignore[index]
    assert list((vasp.folder / "scratch").iterdir()) == []


def test_custodian_recovers_and_its_corrections_are_kept(vasp: StandInVasp):
    """brmix is seen while VASP runs on; the steps of what is begun again are kept as well."""
    vasp.plan({"1": "zbrent", "3": "brmix", "5": "edddav"})
    found = result(vasp, task="relax")
    assert vasp.stages == ["relax1", "relax1", "relax2", "relax2", "static", "static"]
    changes = found["changes"]
    corrections = {name: [one["errors"] for one in told["corrections"]] for name, told in changes.items()}
    assert corrections == {"relax1": [["zbrent"]], "relax2": [["brmix"]], "static": [["edddav"]]}
    assert changes["relax1"]["tags"] == {"EDIFF": (1e-4, 1e-6), "NELMIN": (None, 8)}
    assert changes["static"]["tags"]["ALGO"] == ("Fast", "All")
    assert found["incompatible"] is None
    assert found["energy"] == -17.54958326
    assert frames(vasp) > 6


@pytest.mark.parametrize(
    ("fault", "error_class", "ended_by"),
    [
        ("segv", ErrorClass.BUG, "SIGSEGV"),
        ("kill", ErrorClass.KILLED, "SIGKILL"),
        ("stale", ErrorClass.KILLED, None),
        ("other", ErrorClass.KILLED, None),
        ("truncated", ErrorClass.KILLED, None),
        ("fail", ErrorClass.BUG, None),
        ("memory", ErrorClass.OUT_OF_MEMORY, None),
        ("disk", ErrorClass.DISK_FULL, None),
        ("zbrent", ErrorClass.NOT_CONVERGED_IONIC, None),
        ("unconverged", ErrorClass.NOT_CONVERGED_ELECTRONIC, None),
    ],
)
def test_every_fault_has_its_class(vasp: StandInVasp, fault: str, error_class: ErrorClass, ended_by: str | None):
    vasp.plan({"*": fault})
    failed = failure(vasp, max_errors=2)
    assert (failed.error_class, failed.signal) == (error_class, ended_by)
    assert (failed.log_tail or "").startswith(" running    1 mpi-ranks") == (fault != "fail")
    assert str(failed).startswith("static: ")


@pytest.mark.parametrize("fault", ["stale", "other"])
def test_the_steps_of_another_run_are_not_taken_for_ours(vasp: StandInVasp, fault: str):
    vasp.plan({"*": fault})
    assert failure(vasp, "relax").error_class == ErrorClass.KILLED
    assert frames(vasp) == 0


def test_a_signal_and_the_last_words_reach_the_label_and_the_steps_before_it_too(vasp: StandInVasp):
    vasp.plan({"2": "segv"})
    trajectory = Trajectory()
    with pytest.raises(LabelFailure, match="relax2: VASP ended by SIGSEGV") as failed:
        engine(vasp).relax(vasp.crystal(SILICON), RELAXATION, trajectory)
    assert (failed.value.error_class, failed.value.signal) == (ErrorClass.BUG, "SIGSEGV")
    assert "entering main loop" in (failed.value.log_tail or "")
    assert len(trajectory.frames) == 5  # three whole ones, and two before it ended


def test_what_hangs_is_begun_again_and_given_up_at_the_third_time(vasp: StandInVasp):
    vasp.plan({"*": "hang"})
    failed = failure(vasp, "relax", frozen_seconds=1.5, polls_per_check=1)
    assert failed.error_class == ErrorClass.KILLED
    assert "Frozen job" in str(failed)
    assert vasp.stages == ["relax1"] * 3
    assert not any(alive(start["pid"]) for start in vasp.starts)
    assert frames(vasp) == 6


def test_a_daemon_that_ends_takes_vasp_along_and_keeps_the_steps(vasp: StandInVasp):
    vasp.plan({"1": "hang"})
    trajectory = Trajectory()

    def drained() -> None:
        if len(trajectory.frames) == 2:
            raise Drained("the daemon is to end")

    trajectory.check = drained
    with pytest.raises(Drained):
        engine(vasp).relax(vasp.crystal(SILICON), RELAXATION, trajectory)
    assert len(trajectory.frames) == 2
    assert not any(alive(start["pid"]) for start in vasp.starts)


@pytest.mark.parametrize("most", [1, 2])
def test_too_few_ionic_steps(vasp: StandInVasp, most: int):
    """One step is no relaxation either, though pymatgen calls it converged."""
    failed = failure(vasp, "relax", max_steps=most, max_errors=2)
    assert failed.error_class == ErrorClass.NOT_CONVERGED_IONIC
    assert frames(vasp) == most * len(vasp.starts)


def test_a_relaxation_that_ends_on_a_slope(vasp: StandInVasp):
    assert failure(vasp, "relax", force_tolerance=-1.0).error_class == ErrorClass.NOT_CONVERGED_IONIC


def test_other_smearing_in_the_static_run_is_incompatible(vasp: StandInVasp):
    vasp.plan({"1": "tet"})
    found = result(vasp)
    assert found["incompatible"] == "static ran with other inputs than the level's: ISMEAR -5 -> 0"
    assert found["changes"]["static"]["tags"]["ISMEAR"] == (-5, 0)


def test_other_smearing_in_a_relaxation_is_not(vasp: StandInVasp):
    vasp.plan({"1": "tet"})
    found = result(vasp, task="relax")
    assert found["incompatible"] is None
    assert found["changes"]["relax1"]["tags"]["ISMEAR"] == (-5, 0)


def test_a_metal_is_relaxed_with_the_smearing_of_metals_and_stays_compatible(vasp: StandInVasp):
    """As custodian does for every one, since MPRelaxSet begins with tetrahedra."""
    found = result(vasp, LUTETIUM, "relax")
    assert vasp.stages == ["relax1", "relax1", "relax2", "relax2", "static"]
    assert [start["tags"]["ISMEAR"] for start in vasp.starts] == ["-5", "2", "-5", "2", "-5"]
    assert found["changes"]["relax2"]["tags"] == {"ISMEAR": (-5, 2), "SIGMA": (0.05, 0.2)}
    assert (found["gap"], found["incompatible"]) == (0.0, None)


def test_a_remedy_is_among_the_changes(vasp: StandInVasp):
    found = result(vasp, changes=REMEDIES[ErrorClass.NOT_CONVERGED_ELECTRONIC][1] | {"POTIM": 0.1})
    assert vasp.starts[0]["tags"]["NELM"] == "400"
    assert "POTIM" not in vasp.starts[0]["tags"]  # nothing moves
    assert found["changes"]["static"]["tags"]["AMIX"] == (None, 0.1)
    assert found["incompatible"] is None


def test_the_gap_along_the_bands_is_looked_for_with_the_density_of_the_static_run(vasp: StandInVasp):
    found = result(vasp, band_path=True)
    assert vasp.stages == ["static", "bands"]
    assert vasp.starts[1]["tags"]["ICHARG"] == "11"
    assert (vasp.folder / "work" / "bands" / "CHGCAR").read_text() == "a density\n"
    assert found["gap"] == pytest.approx(0.7873)
    assert found["stages"]["bands"]["converged"] is True


def test_a_label_without_bands_is_a_label(vasp: StandInVasp):
    vasp.plan({"2": "segv"})
    found = result(vasp, band_path=True)
    assert found["gap"] == pytest.approx(0.7873)
    assert found["stages"]["bands"]["error"].startswith("bug: bands: VASP ended by SIGSEGV")


def test_r2scan_after_pbe(vasp: StandInVasp):
    """Of a metal; the steps at PBE are none of the level's."""
    settings = load_level("vasp-r2scan").settings
    found = result(vasp, LUTETIUM, "relax", **settings)
    tags = [start["tags"] for start in vasp.starts]
    assert vasp.stages == ["pbe", "relax", "static"]
    assert [one.get("METAGGA") for one in tags] == [None, "R2scan", "R2scan"]
    assert [(one["NSW"], one["ISMEAR"]) for one in tags] == [("99", "0"), ("99", "2"), ("0", "-5")]
    assert not any(start["kpoints"] for start in vasp.starts)
    assert found["energy"] == -114.2395136
    assert (found["gap"], found["vasp"]) == (0.0, "6.1.1")
    assert frames(vasp) == 6


def test_an_attempt_that_goes_on_asks_pbe_for_the_gap_alone(vasp: StandInVasp):
    result(vasp, LUTETIUM, "relax", **{**load_level("vasp-r2scan").settings, "resumed": True})
    assert [start["tags"]["NSW"] for start in vasp.starts] == ["0", "99", "0"]


def test_r2scan_energies_of_heavy_elements_are_plausible():
    lutetium = Crystal(np.eye(3) * 3.1, [71], [[0, 0, 0]])
    check_plausible(lutetium, -38.1, ENERGIES["r2scan"])
    with pytest.raises(LabelFailure, match=r"-38\.10 eV/atom"):
        check_plausible(lutetium, -38.1, ENERGIES["mp"])


def test_a_supercell_of_other_atoms_comes_back_in_its_own_order(vasp: StandInVasp):
    """LiFePO4: VASP has its atoms sorted, the label has them as they were given."""
    crystal = vasp.crystal(PHOSPHATE)
    order = np.random.default_rng(1).permutation(crystal.nsites)
    shuffled = Crystal(crystal.lattice, crystal.numbers[order], crystal.frac_coords[order])
    first, second = _together(shuffled)
    begun = Crystal(crystal.lattice, shuffled.numbers[first], shuffled.frac_coords[first])
    assert begun.numbers.tolist() == crystal.numbers.tolist()
    assert np.array_equal(begun.frac_coords[second], shuffled.frac_coords)


def _together(crystal: Crystal) -> tuple[np.ndarray, np.ndarray]:
    from workers.engines.vasp_inputs import sorted_order

    order = np.array(sorted_order(crystal))
    return order, np.argsort(order)


def test_a_program_that_is_not_here_is_a_missing_engine(vasp: StandInVasp):
    absent = Vasp({}, Machine(vasp=("vasp_of_the_moon",), potcars=vasp.machine.potcars))
    with pytest.raises(LabelFailure, match="vasp_of_the_moon here; LODE_VASP") as failed:
        absent.static(vasp.crystal(SILICON))
    assert failed.value.error_class == ErrorClass.MISSING_ENGINE
    assert np.isnan(absent.energies([vasp.crystal(SILICON)])).all()
    gone = failure(vasp, command=(str(vasp.folder / "gone"),))
    assert (gone.error_class, "LODE_VASP" in str(gone)) == (ErrorClass.MISSING_ENGINE, True)


def test_potentials_that_are_not_here_are_missing_datasets(vasp: StandInVasp):
    magnesia = Crystal(np.eye(3) * 4.2, [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(LabelFailure, match="Mg_pv for Mg") as failed:
        engine(vasp).relax(magnesia, RELAXATION, Trajectory())
    assert failed.value.error_class == ErrorClass.MISSING_DATASET


def test_a_workflow_that_is_not_known():
    with pytest.raises(LabelFailure, match="no workflow 'gw' here; there are: mp, r2scan"):
        Vasp({"workflow": "gw"})


def test_without_custodian_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    from importlib.metadata import PackageNotFoundError

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("workers.engines.vasp.version", version)
    installed.cache_clear()
    with pytest.raises(MissingExtra, match=r"custodian isn't installed: pip install 'motherlode\[dft\]'"):
        engine_of(load_level("vasp-mp"))
    installed.cache_clear()


@pytest.mark.parametrize(
    ("code", "signal_name", "told"),
    [
        (-signal.SIGSEGV, "SIGSEGV", None),
        (139, "SIGSEGV", None),
        (137, "SIGKILL", None),
        (41, None, 41),
        (0, None, 0),
        (None, None, None),
    ],
)
def test_a_signal_is_known_by_its_number_and_by_what_mpirun_makes_of_it(
    code: int | None, signal_name: str | None, told: int | None
):
    from workers.engines.vasp_faults import ended_of

    ended = ended_of(code, "", out_of_memory=False)
    assert (ended.signal, ended.code) == (signal_name, told)


@pytest.mark.parametrize(
    ("errors", "converged", "error_class"),
    [
        (["Unconverged"], True, ErrorClass.NOT_CONVERGED_IONIC),
        (["Unconverged"], False, ErrorClass.NOT_CONVERGED_ELECTRONIC),
        (["Unconverged"], None, ErrorClass.NOT_CONVERGED_ELECTRONIC),
        (["Non-converging job"], None, ErrorClass.NOT_CONVERGED_ELECTRONIC),
        (["brmix", "zbrent"], None, ErrorClass.NOT_CONVERGED_IONIC),
        (["edddav"], None, ErrorClass.NOT_CONVERGED_ELECTRONIC),
        (["POTIM"], None, ErrorClass.GEOMETRY_EXPLODED),
        (["Positive energy"], None, ErrorClass.UNPHYSICAL_ENERGY),
        (["out_of_memory"], None, ErrorClass.OUT_OF_MEMORY),
        (["set_core_wf"], None, ErrorClass.MISSING_DATASET),
    ],
)
def test_what_custodian_gives_up_on_has_a_class(errors: list[str], converged: bool | None, error_class: ErrorClass):
    from workers.engines.vasp_faults import class_of_errors

    assert class_of_errors(errors, converged) == error_class


def test_custodian_still_has_the_names_that_classes_go_by():
    from custodian.vasp.handlers import StdErrHandler, VaspErrorHandler

    from workers.engines.vasp_faults import CLASSES

    spoken = {"POTIM", "Positive energy", "Frozen job"}
    assert set(CLASSES) - spoken <= VaspErrorHandler.error_msgs.keys() | StdErrHandler.error_msgs.keys()
