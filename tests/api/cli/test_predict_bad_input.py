"""What a batch of files may hold, to every kind of model: a number with a flag, or one line that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from api.cli.main import cli
from registry.errors import SettingsError
from tests.registry.importers.test_bad_files import CIF, POSCAR, XYZ
from tests.workers.models import save_tiny_composition_model, save_tiny_model
from tests.workers.test_damaged_models import save_published_model

SALT, SALT_XYZ, SALT_POSCAR = (text.replace("Cs", "Na") for text in (CIF, XYZ, POSCAR))
LONE = '1\nLattice="9.5 0 0 0 9.5 0 0 0 9.5" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 0\n'
EDGE = 8


def large() -> str:
    """512 sites: rock salt's atoms on a grid."""
    grid = np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    atoms = "\n".join(f"{('Na', 'Cl')[sum(at) % 2]} {' '.join(str(2.8 * x) for x in at)}" for at in grid.tolist())
    lattice = f"{2.8 * EDGE} 0 0 0 {2.8 * EDGE} 0 0 0 {2.8 * EDGE}"
    return f'{EDGE**3}\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"\n{atoms}\n'


REFUSED = {
    "unseen.cif": (SALT.replace("Na", "Po"), "Po"),
    "disordered.cif": (SALT.replace("0 0 0 1", "0 0 0 0.5"), "partial occupancy"),
    "nan.extxyz": (SALT_XYZ.replace("2 2 2", "nan 2 2"), "finite"),
    "infinite.extxyz": (SALT_XYZ.replace('"4 0 0', '"inf 0 0'), ""),
    "flat.vasp": (SALT_POSCAR.replace("0 0 4", "0 0 0"), ""),
    "overlap.extxyz": (SALT_XYZ.replace("2 2 2", "0 0 0.1"), "overlapping atoms"),
    "empty.cif": ("", "the file is empty"),
    "words.cif": ("Dear colleague,\n", "doesn't parse as CIF"),
    "words.json": ("{]", "doesn't parse as JSON"),
    "salt.docx": ("PK", "unknown format"),
    "cut.cif": (SALT[:200], "doesn't parse as CIF"),
}
PREDICTED = {"first.cif": SALT, "site.cif": SALT.replace("Cl1 Cl 0.5 0.5 0.5 1\n", ""), "large.extxyz": large()}
ODD = {"lone.extxyz": LONE}
ALL = {"first.cif": SALT, **{name: text for name, (text, _) in REFUSED.items()}, **ODD, **PREDICTED, "last.cif": SALT}
KINDS: dict[str, Callable[[Path], Path]] = {
    "structure": save_tiny_model,
    "confident": lambda folder: save_tiny_model(folder, confident=True),
    "published": save_published_model,
}


def predict_all(folder: Path, *arguments: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Rows by file, and what stands on standard error, of `lode predict` on ALL files at once."""
    for name, text in ALL.items():
        (folder / name).write_text(text)
    names = [name for name in ALL if name not in ("first.cif", "last.cif")]
    files = [str(folder / name) for name in ("first.cif", *names, "last.cif")]
    done = CliRunner().invoke(cli, ["predict", *files, "--no-registry", "--json", *arguments])
    assert done.exit_code == 1, (done.output, done.exception)
    rows = json.loads(done.stdout)
    assert [row["index"] for row in rows] == list(range(len(files)))
    found = {row["record"].split(":")[0]: row for row in rows}
    assert list(found) == [Path(name).name for name in files]
    return found, done.stderr.splitlines()


def check_all(found: dict[str, dict[str, Any]], said: list[str]) -> None:
    """What holds of every kind of model."""
    for name, (_, reason) in REFUSED.items():
        assert found[name]["formation_energy_per_atom"] is None, name
        assert reason in found[name]["flags"][-1], name
        (line,) = [line for line in said if name in line]
        assert line.startswith("lode: ")
        assert reason in line
    for name in (*PREDICTED, "last.cif"):
        assert np.isfinite(found[name]["formation_energy_per_atom"]), name
    first, last = (found[name]["formation_energy_per_atom"] for name in ("first.cif", "last.cif"))
    assert first == pytest.approx(last, abs=1e-5)
    assert any("neighbour" in flag for flag in found["lone.extxyz"]["flags"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scan", [(), ("--unrelaxed",)])
def test_every_file_keeps_its_place_and_spoils_no_other(tmp_path: Path, kind: str, scan: tuple[str, ...]) -> None:
    model = KINDS[kind](tmp_path / "model")
    found, said = predict_all(tmp_path, "--model", str(model), *scan)
    check_all(found, said)
    assert len(said) == len(REFUSED)
    assert found["lone.extxyz"]["out_of_domain"] is (True if kind == "confident" else None)


def test_a_model_of_formulas_is_not_asked_about_crystals(tmp_path: Path) -> None:
    """Its energy is that of a ground state, not of the crystal at hand."""
    model = str(save_tiny_composition_model(tmp_path / "formulas"))
    (tmp_path / "salt.cif").write_text(SALT)
    told = CliRunner().invoke(cli, ["predict", str(tmp_path / "salt.cif"), "--model", model, "--no-registry"]).exception
    assert isinstance(told, SettingsError)
    assert str(told) == "model 'formulas' predicts formulas, not crystals: ask it by --formula, or name another one"
