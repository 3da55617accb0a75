"""The settings of one run: environment `LODE_*` over `lode.toml`, read here and nowhere else.

`lode.toml` in the current folder overrides the one in `LODE_HOME`; the environment overrides both.
Importing this module takes pydantic along (0.4 s): the command line imports it inside its commands.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from registry.errors import SettingsError

DEFAULT_HOME = "~/.local/share/motherlode"
FILE_NAME = "lode.toml"


class Settings(BaseSettings):
    """Frozen; every field can be set as `LODE_<FIELD>` or as a key of lode.toml."""

    model_config = SettingsConfigDict(env_prefix="LODE_", frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = Field(default=Path(DEFAULT_HOME), validate_default=True, description="everything that lode writes")
    database_url: str | None = Field(
        default=None, repr=False, description="a PostgreSQL 15+ of your own; the embedded one when empty"
    )
    pg_bin: Path | None = Field(default=None, description="folder of other binaries for the embedded server")
    old_pg_bin: Path | None = Field(
        default=None, description="folder of the binaries that `lode upgrade` leaves behind"
    )
    start_seconds: float = Field(default=600.0, gt=0, description="patience with a server that recovers from a crash")

    mpi: str = Field(default="", description="words before a parallel program: mpirun -np 4")
    scratch: Path | None = Field(
        default=None, description="folder for the folders of calculations; the system's when empty"
    )
    memory: float | None = Field(
        default=None, ge=0.5, description="GiB that one calculation may have; whatever there is when empty"
    )
    vasp: str = Field(default="vasp_std", description="words of VASP's command, after those of mpi")
    vasp_incar: str = Field(default="", description="tags of its INCAR that belong to this machine: NCORE=4 KPAR=2")
    potcars: Path | None = Field(
        default=None, description="folder of VASP's potentials in pymatgen's layout; PMG_VASP_PSP_DIR when empty"
    )

    query_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="patience with one statement of `lode query` and `lode hull`"
    )

    @field_validator("home", "pg_bin", "old_pg_bin", "scratch", "potcars")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path else None

    @field_validator("mpi", "vasp")
    @classmethod
    def _words(cls, text: str) -> str:
        shlex.split(text)  # ValueError for quotes that nobody closes
        return text

    @field_validator("vasp_incar")
    @classmethod
    def _tags(cls, text: str) -> str:
        if wrong := [word for word in text.split() if not re.fullmatch(r"\w+=[\w.]+", word)]:
            raise ValueError(f"must read TAG=VALUE TAG=VALUE, without blanks within, not {' '.join(wrong)}")
        return text

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        if not url:
            return None
        if not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("must start with postgresql://")
        return _readable("postgresql://" + url.split("://", 1)[1])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic-settings passes all five by name)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=_files())


def load_settings(**overrides: Any) -> Settings:
    """The settings of this run; `overrides` (command line options) win over everything. Raises SettingsError."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(item["loc"], item["msg"]) for item in error.errors())) from error


def _files() -> list[Path]:
    """The files to read, the stronger one last."""
    here = Path.cwd() / FILE_NAME
    home = os.environ.get("LODE_HOME") or str(_parsed(here).get("home", DEFAULT_HOME))
    there = Path(home).expanduser() / FILE_NAME
    _parsed(there)
    return [there, here]


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} can't be read: {error}") from error


def _readable(url: str) -> str:
    """The URL itself. Raises ValueError, without the password, for one that can't be taken apart."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ValueError, ArgumentError):
        raise ValueError("must read postgresql://user:password@host:port/database, the port as a number") from None
    return url


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in location)
    if message == "Extra inputs are not permitted":
        return f"{name} is no setting: remove it from {FILE_NAME}"
    return f"LODE_{name.upper()} (or {name} in {FILE_NAME}): {message.removeprefix('Value error, ')}"
