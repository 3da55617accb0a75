"""What the settings say of the machine on which labels are computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.cli.work import machine_of
from registry.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_a_machine_is_as_the_settings_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LODE_MPI", "mpirun -np 4")
    monkeypatch.setenv("LODE_VASP", "singularity exec 'my vasp.sif' vasp_std")
    monkeypatch.setenv("LODE_VASP_INCAR", "NCORE=4 KPAR=2")
    monkeypatch.setenv("LODE_MEMORY", "2")
    machine = machine_of()
    assert machine.vasp == ("singularity", "exec", "my vasp.sif", "vasp_std")
    assert machine.vasp_incar == {"NCORE": "4", "KPAR": "2"}
    assert (machine.ranks, machine.memory_of_one) == (4, 2**29)


def test_a_tag_that_makes_another_level_is_no_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LODE_VASP_INCAR", "ENCUT=300")
    with pytest.raises(SettingsError, match="ENCUT can't be a machine's"):
        machine_of()
