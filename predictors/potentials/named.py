"""The potentials by their names. Nothing heavy is imported before one is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from predictors.errors import PotentialMissing

if TYPE_CHECKING:
    from predictors.potentials.base import Potential

POTENTIALS = {
    "7net-0": ("sevennet", "SevenNet"),
    "7net-l3i5": ("sevennet", "SevenNet"),
    "chgnet": ("chgnet", "CHGNet"),
    "chgnet-r2scan": ("chgnet", "CHGNet"),
}
"""Name, which is that of its level too -> the module here and the class, which is made with the name."""


@cache
def load_potential(name: str) -> Potential:
    """One of POTENTIALS, loaded once per process. Raise PotentialMissing where its package isn't installed."""
    module, attribute = POTENTIALS[name]
    made: Potential = getattr(import_module(f"predictors.potentials.{module}"), attribute)(name)
    return made


def installed(package: str) -> str:
    """The version of a package that holds a potential. Raise PotentialMissing."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise PotentialMissing(package) from None
