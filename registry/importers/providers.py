"""Crystals from providers on the net: which reader takes which provider, and what it hands over."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry.errors import SettingsError
from registry.importers.record import Item

READERS: dict[str, str] = {"optimade": "optimade", "mp": "materials_project"}
"""What stands before the colon of `--provider` -> the module beside this one that reads it."""


@dataclass(frozen=True)
class Query:
    """What is asked of a provider.

    provider: "optimade:URL" or "mp"
    filter: in OPTIMADE's grammar
    chemsys: "Li-Fe-O" and all that these elements make
    energy: the provider's own field that holds total energies, eV per cell
    energies: whether energies shall be kept
    non_commercial: whether records that forbid commercial use are wanted, at the price of terms that forbid it for all
    """

    provider: str
    filter: str = ""
    chemsys: str = ""
    energy: str = ""
    energies: bool = False
    non_commercial: bool = False

    @property
    def address(self) -> str:
        """What stands behind the colon."""
        return self.provider.partition(":")[2]


@dataclass(frozen=True)
class Delivery:
    """Records of one provider, on the provider's terms. `items` reads as it goes; what breaks off is a BadRecord."""

    source: str
    items: Iterator[Item]
    licence: str = "unknown"
    citation: str = ""
    non_commercial: bool = False


def open_provider(query: Query) -> Delivery:
    """Ask a provider. Raises SettingsError for a query that it can't take, ProviderError where it doesn't answer."""
    name = query.provider.partition(":")[0]
    if name not in READERS:
        raise SettingsError(f"unknown provider {name!r}: give --provider optimade:URL, or --provider mp")
    open_: Callable[[Query], Delivery] = importlib.import_module(f"registry.importers.{READERS[name]}").open_provider
    return open_(query)
