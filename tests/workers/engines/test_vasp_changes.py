"""Which of custodian's, and our own, changes leave an energy as it was meant to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import SettingsError
from workers.engines.vasp import REMEDIES
from workers.engines.vasp_changes import ANOTHER_WAY, action_told, allowed, complaint, differences, parallel_tags

EDIFFS = st.floats(1e-9, 1e-2)
MESHES = st.lists(st.integers(1, 12), min_size=3, max_size=3)


def mesh(divisions: list[int], style: str = "Gamma", shift: float = 0.0) -> dict[str, Any]:
    return {"style": style, "divisions": divisions, "shift": [shift] * 3}


@pytest.mark.parametrize(
    ("tag", "asked", "used"),
    [
        ("ALGO", "Fast", "All"),
        ("ALGO", None, "Normal"),
        ("ISEARCH", None, 1),
        ("NELM", 100, 40),
        ("ISYM", None, 0),
        ("SYMPREC", None, 1e-6),
        ("LREAL", "Auto", False),
        ("NBANDS", None, 30),
        ("ICHARG", None, 2),
        ("KSPACING", 0.4, 0.22),
        ("KPOINTS", mesh([4, 4, 4], "Monkhorst"), mesh([5, 5, 5])),
        ("EDIFFG", -0.02, -0.01),
    ],
)
@pytest.mark.parametrize("relaxes", [True, False])
def test_another_way_to_the_same_place_is_allowed(tag: str, asked: Any, used: Any, relaxes: bool):
    assert allowed(tag, (asked, used), relaxes)


@pytest.mark.parametrize(
    ("tag", "asked", "used"),
    [
        ("ENCUT", 520.0, 400.0),
        ("ENCUT", 520.0, 600.0),  # another basis: of another level
        ("PREC", "Accurate", "Normal"),
        ("ISMEAR", -5, 0),
        ("SIGMA", 0.05, 0.2),
        ("METAGGA", "R2scan", None),
        ("GGA", None, "Ps"),
        ("LDAUU", [5.3, 0.0], [0.0, 0.0]),
        ("LDAU", True, None),
        ("LASPH", True, None),
        ("ADDGRID", None, True),
        ("LREAL", False, "Auto"),
        ("ISPIN", 2, 1),
        ("MAGMOM", [5.0], [0.6]),
        ("NUPDOWN", None, 0),
        ("NGX", None, 12),
        ("NBANDS", 30, 20),
        ("ICHARG", None, 11),
        ("ALGO", "Normal", "None"),
        ("ALGO", "Normal", "Eigenval"),
        ("EDIFF", 1e-5, None),  # VASP's own is 1e-4
        ("EDIFFG", None, -0.5),
        ("EDIFFG", 1e-4, -0.05),
        ("KSPACING", 0.22, 0.5),
        ("KPOINTS", mesh([6, 6, 6]), mesh([6, 6, 6], "Monkhorst")),
        ("KPOINTS", mesh([6, 6, 6]), mesh([6, 6, 6], shift=0.5)),
        ("KPOINTS", mesh([6, 6, 6]), None),
        ("KPOINTS", None, mesh([6, 6, 6])),
    ],
)
def test_a_change_of_the_energy_is_told(tag: str, asked: Any, used: Any):
    assert not allowed(tag, (asked, used), relaxes=False)
    assert tag in (complaint({tag: (asked, used)}, relaxes=False) or "")


def test_smearing_may_change_where_only_forces_come_of_it():
    """As IncorrectSmearingHandler does for every metal: the static run after it has the level's."""
    as_metal = {"ISMEAR": (-5, 2), "SIGMA": (0.05, 0.2)}
    assert complaint(as_metal, relaxes=True) is None
    assert complaint(as_metal, relaxes=False) == "ISMEAR -5 -> 2; SIGMA 0.05 -> 0.2"
    assert complaint({"SIGMA": (0.2, 0.9)}, relaxes=True) is not None
    assert complaint({"ISMEAR": (-5, -1)}, relaxes=True) is not None


@given(EDIFFS, EDIFFS, st.booleans())
def test_a_looser_electronic_criterion_is_never_allowed(asked: float, used: float, relaxes: bool):
    assert allowed("EDIFF", (asked, used), relaxes) == (used <= asked)


@given(MESHES, MESHES)
def test_a_coarser_mesh_is_never_allowed(asked: list[int], used: list[int]):
    finer = all(after >= before for before, after in zip(asked, used, strict=True))
    assert allowed("KPOINTS", (mesh(asked), mesh(used)), relaxes=True) == finer


@given(st.dictionaries(st.sampled_from(["ENCUT", "PREC", "ISMEAR", "ALGO", "NELM", "EDIFF"]), st.integers(1, 5)))
def test_equal_inputs_differ_in_nothing(tags: dict[str, int]):
    assert differences(tags, dict(tags)) == {}


@given(st.sampled_from(sorted(ANOTHER_WAY)), st.none() | st.integers() | st.text(), st.none() | st.floats())
def test_how_a_minimum_is_looked_for_is_free(tag: str, asked: Any, used: Any):
    assert complaint({tag: (asked, used)}, relaxes=False) is None


def test_what_a_machine_may_say_is_free_at_every_level():
    tags = parallel_tags("NCORE=4 kpar=2 LPLANE=.FALSE.")
    assert tags == {"NCORE": "4", "KPAR": "2", "LPLANE": ".FALSE."}
    assert complaint({tag: (None, value) for tag, value in tags.items()}, relaxes=False) is None
    assert parallel_tags("") == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("NCORE=4 ENCUT=300 ALGO=All", "LODE_VASP_INCAR .* ALGO, ENCUT can't be a machine's"),
        ("NCORE=four", "LODE_VASP_INCAR .* NCORE=four: a number from 1"),
        ("KPAR=0", "KPAR=0: a number from 1"),
        ("LPLANE=2", "LPLANE=2: .* or .TRUE. or .FALSE."),
        ("NCORE", "NCORE=: a number from 1"),
    ],
)
def test_a_machine_says_nothing_that_an_energy_depends_on(words: str, message: str):
    with pytest.raises(SettingsError, match=message):
        parallel_tags(words)


def test_differences_name_what_came_and_what_went():
    asked, used = {"ALGO": "Fast", "EDIFF": 1e-4}, {"Algo": "Normal", "NELMIN": 8}
    assert differences(asked, used) == {"ALGO": ("Fast", "Normal"), "EDIFF": (1e-4, None), "NELMIN": (None, 8)}


@pytest.mark.parametrize("step", [step for ladder in REMEDIES.values() for step in ladder])
def test_no_remedy_loosens_anything(step: dict[str, Any]):
    assert complaint({tag: (None, value) for tag, value in step.items()}, relaxes=False) is None


def test_actions_are_told_in_words():
    assert (
        action_told({"dict": "INCAR", "action": {"_set": {"ALGO": "All", "ISEARCH": 1}}})
        == "INCAR: ALGO = All, ISEARCH = 1"
    )
    assert action_told({"dict": "INCAR", "action": {"_unset": {"NPAR": 1}}}) == "INCAR: no NPAR"
    assert (
        action_told({"dict": "POSCAR", "action": {"_set": {"structure": {"sites": []}}}}) == "POSCAR: another structure"
    )
    assert action_told({"file": "CONTCAR", "action": {"_file_copy": {"dest": "POSCAR"}}}) == "CONTCAR: to POSCAR"
    assert action_told({"file": "WAVECAR", "action": {"_file_delete": {"mode": "actual"}}}) == "WAVECAR: deleted"
