"""lode doctor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from api.cli.output import as_json, print_json, print_table

EXTRAS = {
    "predictors": ("torch", "safetensors"),
    "potentials": ("sevenn", "chgnet", "ase"),
    "dft": ("gpaw", "gpaw_data", "custodian"),
}
GPAW_NEEDS = {"xc": "libxc-dev", "openblas": "libopenblas-dev", "mpi": "libopenmpi-dev openmpi-bin"}
"""Library -> the packages of Debian that bring it, with what building takes."""

Check = Callable[[], dict[str, Any]]


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check what this machine has and say what is missing. Exit code 1 if something needed is."""
    checks: list[Check] = [_python, _cluster, _server, _schema, _shipped_model, _hull_solver, _dgl, _gpaw, _vasp]
    rows = [_checked(check) for check in checks] + [_extra(name, modules) for name, modules in EXTRAS.items()]
    print_json(rows) if as_json else print_table(rows, ["check", "ok", "note"])
    if not all(row["ok"] or row.get("optional") for row in rows):
        sys.exit(1)


def _checked(check: Check) -> dict[str, Any]:
    from registry.errors import LodeError

    try:
        return check()
    except LodeError as error:
        return {"check": check.__name__.strip("_").replace("_", " "), "ok": False, "note": str(error)}


def _python() -> dict[str, Any]:
    return {"check": "python", "ok": sys.version_info >= (3, 11), "note": sys.version.split()[0]}


def _cluster() -> dict[str, Any]:
    from registry.embedded import check_cluster
    from registry.settings import load_settings
    from registry.upgrade import kept_clusters

    settings = load_settings()
    if settings.database_url:
        return {"check": "cluster", "ok": True, "note": "not ours: LODE_DATABASE_URL is set"}
    kept = [f"; kept since an upgrade: {path}" for path in kept_clusters(settings.home)]
    return {"check": "cluster", "ok": True, "note": check_cluster(settings.home, settings.pg_bin) + "".join(kept)}


def _server() -> dict[str, Any]:
    from registry.database import check_server, database_url, engine_for
    from registry.settings import load_settings

    version = check_server(engine_for(database_url(load_settings())))
    return {"check": "server", "ok": True, "note": f"PostgreSQL {version}"}


def _schema() -> dict[str, Any]:
    from api.cli.database import open_registry

    open_registry()
    return {"check": "schema", "ok": True, "note": "as this code expects"}


def _shipped_model() -> dict[str, Any]:
    from api.cli.database import DEFAULT_LEVEL
    from workers.train import shipped_model

    return {"check": "shipped model", "ok": True, "note": shipped_model(DEFAULT_LEVEL).name}


def _hull_solver() -> dict[str, Any]:
    from registry.hull.geometry import is_warm

    warm = is_warm()
    note = "compiled" if warm else "will compile at first use (about 15 s)"
    return {"check": "hull solver", "ok": warm, "note": note, "optional": True}


def _dgl() -> dict[str, Any]:
    found = find_spec("dgl") is not None
    note = "found" if found else "not here: message passing runs on plain torch"
    return {"check": "dgl", "ok": found, "note": note, "optional": True}


def _vasp() -> dict[str, Any]:
    """VASP and its potentials are the user's own; few have them."""
    from api.cli.work import machine_of
    from registry.errors import LabelFailure
    from workers.engines.vasp import check_program
    from workers.engines.vasp_inputs import potcar_folder

    machine = machine_of()
    try:
        check_program(machine)
        note, ok = f"{machine.vasp[0]}, potentials in {potcar_folder(machine.potcars)}", True
    except LabelFailure as failure:
        note, ok = str(failure), False
    return {"check": "vasp", "ok": ok, "note": note, "optional": True}


def _gpaw() -> dict[str, Any]:
    """It is built where it is installed, against libraries of the system that may be missing later."""
    from ctypes.util import find_library

    from registry.errors import MissingExtra
    from workers.engines.gpaw import elements, installed

    try:
        version = installed()
        importlib.import_module("gpaw")
        return {"check": "gpaw", "ok": True, "note": f"{version}, {len(elements())} elements", "optional": True}
    except (MissingExtra, ImportError) as error:
        lacking = [package for library, package in GPAW_NEEDS.items() if find_library(library) is None]
        first = f"; before it: apt-get install {' '.join(lacking)}" if lacking else ""
        return {"check": "gpaw", "ok": False, "note": f"{error}{first}", "optional": True}


def _extra(name: str, modules: tuple[str, ...]) -> dict[str, Any]:
    missing = [module for module in modules if find_spec(module) is None]
    note = f"missing {', '.join(missing)}: pip install 'motherlode[{name}]'" if missing else "complete"
    return {"check": f"extra {name}", "ok": not missing, "note": note, "optional": True}
