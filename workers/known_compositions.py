"""Which compositions are known: those of a registry, and of files of formulas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import BadRecord, FilterError, SettingsError
from registry.identity.composition import ATOMIC_NUMBERS
from registry.models import Composition, Structure
from registry.query.values import formula_amounts
from registry.states import Origin
from workers.candidates.novelty import Keys, KnownCompositions, amounts_keys

AT_ONCE = 20_000


@dataclass
class Known:
    """Keys of compositions from several sources, and the lines that hold none."""

    parts: list[Keys] = field(default_factory=list)
    refused: list[BadRecord] = field(default_factory=list)

    def add_registry(self, session: Session, *, imported: bool = False) -> Self:
        """Every composition of the registry: imported, proposed or asked for; or those of imported crystals alone.

        One query, streamed.
        """
        query = sa.select(Composition.elements, Composition.amounts)
        if imported:
            of_it = Structure.composition_id == Composition.id, Structure.origin == Origin.IMPORTED
            query = query.where(sa.select(Structure).where(*of_it).exists())
        rows = session.execute(query.execution_options(yield_per=AT_ONCE)).tuples()
        return self._add(dict(zip(elements, amounts, strict=True)) for elements, amounts in rows)

    def add_file(self, path: Path) -> Self:
        """A file with a formula as the first word of each line, up to a comma; # begins a comment.

        Lines that hold no formula are kept in `refused`. Raises SettingsError for a file that can't be read.
        """
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                return self._add(self._formulas(path.name, lines))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error

    def compositions(self) -> KnownCompositions:
        return KnownCompositions(np.unique(np.concatenate([*self.parts, np.zeros(0, dtype=np.uint64)])))

    def _formulas(self, name: str, lines: Iterable[str]) -> Iterator[dict[str, int]]:
        for number, line in enumerate(lines, 1):
            for word in line.partition("#")[0].replace(",", " ").split()[:1]:
                try:
                    yield formula_amounts(word)
                except FilterError as error:
                    self.refused.append(BadRecord(f"{name}:{number}", str(error)))

    def _add(self, reduced: Iterable[Mapping[str, int]]) -> Self:
        rows = iter(reduced)
        while batch := list(islice(rows, AT_ONCE)):
            shape = len(batch), max(map(len, batch))
            numbers, amounts = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
            for row, formula in enumerate(batch):
                numbers[row, : len(formula)] = [ATOMIC_NUMBERS[element] for element in formula]
                amounts[row, : len(formula)] = list(formula.values())
            self.parts.append(amounts_keys(numbers, amounts))
        return self
