"""Every error that Motherlode raises on purpose. The message says what to do.

LodeError
├── SettingsError            a setting is missing or contradicts another
├── DatabaseError
│   ├── DatabaseUnavailable  no server answers
│   ├── SchemaOutdated       the schema is older or newer than the code
│   ├── TooSlow              a question took longer than it may
│   ├── BackupError          a backup can't be written, read or restored here
│   └── UpgradeError         the cluster can't be brought to another PostgreSQL
├── BadRecord                one record of an import can't be stored; the others can
├── AlreadyImported          a file that is in the registry, whole
├── ProviderError            a server on the net doesn't answer, or not with what was asked for
├── FilterError              a filter can't be understood
│   └── UnsupportedFilter    it is well written, but asks for what no field here can answer
├── HullError
│   ├── MissingReference     a chemical system lacks an elemental reference
│   └── BadEntry             an energy that no hull may hold
├── LevelMismatch            two levels of theory were about to be mixed
├── NotFound                 no such row
├── MissingExtra             an optional dependency isn't installed
├── Interrupted              work shall end before it is done
│   ├── LeaseLost            the claim on a row ran out; its result was dropped
│   └── Drained              the daemon is to end; the row goes back
└── LabelFailure             one attempt at a label failed, with its class
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
"""What steers a terminal, or is refused by a database: bad files bring it along into the reasons why they are bad."""


def printable(text: str) -> str:
    """The lines of a text as a terminal and a database take them."""
    return "\n".join(UNPRINTABLE.sub("?", line) for line in text.splitlines())


class LodeError(Exception):
    """Something that the person at the keyboard can mend."""


class SettingsError(LodeError):
    """A setting is missing or contradicts another."""


class DatabaseError(LodeError):
    """The system of record refused or failed."""


class DatabaseUnavailable(DatabaseError):
    """No PostgreSQL answers."""


class SchemaOutdated(DatabaseError):
    """The database's schema isn't the one that this code expects: run `lode init`."""


class TooSlow(DatabaseError):
    """A question took longer than it may."""


class BackupError(DatabaseError):
    """A backup can't be written, read or restored here; the database is as it was."""


class UpgradeError(DatabaseError):
    """The cluster can't be brought to another PostgreSQL; the old one is as it was."""


class BadRecord(LodeError):
    """One record of an import can't be stored. What is UNPRINTABLE stands as "?" in its words."""

    def __init__(self, record: str, reason: str) -> None:
        self.record, self.reason = (UNPRINTABLE.sub("?", told) for told in (record, reason))
        super().__init__(f"{self.record}: {self.reason}")


class AlreadyImported(LodeError):
    """A file has been imported before, to its end."""


class ProviderError(LodeError):
    """A server on the net doesn't answer, or not with what was asked for."""


class FilterError(LodeError):
    """A filter can't be understood."""


class UnsupportedFilter(FilterError):
    """A filter is well written, but compares a field with what it can't be compared with here."""


class HullError(LodeError):
    """A convex hull can't be built."""


class MissingReference(HullError):
    """A chemical system lacks an elemental reference."""

    def __init__(self, elements: list[str]) -> None:
        super().__init__(f"no reference energy for {', '.join(elements)}: label these elements at this level first")
        self.elements = elements


class BadEntry(HullError):
    """An energy that no hull may hold."""


class LevelMismatch(LodeError):
    """Two levels of theory were about to be mixed."""


class NotFound(LodeError):
    """No such row."""


class MissingExtra(LodeError):
    """An optional dependency isn't installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} isn't installed: pip install 'motherlode[{extra}]'")


class Interrupted(LodeError):
    """Work shall end before it is done: nobody's failure."""


class LeaseLost(Interrupted):
    """The claim on a row ran out before the result came; the result was dropped."""


class Drained(Interrupted):
    """The daemon is to end: what is in hand goes back."""


class LabelFailure(LodeError):
    """One attempt at a label failed.

    signal, log_tail: of the program that computed it, where there was one; changes: what was done otherwise by then
    """

    def __init__(
        self,
        error_class: str,
        message: str,
        signal: str | None = None,
        log_tail: str | None = None,
        changes: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class, self.signal, self.log_tail = error_class, signal, log_tail
        self.changes = dict(changes or {})
