"""Pictures of the past of a hull: energy above the hull over time, stepped, and when each phase was on the hull.

What to draw, apart from the drawing: `history_html` is interactive and self-contained, `history_png` is for paper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api.pictures.hull import subscripted
from registry.errors import HullError

Row = Mapping[str, Any]

MOST_TRACKS = 10
"""Colours that can be told apart."""

CAPTION = "time (UTC); dots: enters the hull, crosses: leaves it, bars: on it"

COLOURS = ("#1b4965", "#d1495b", "#d98200", "#3f9ac9", "#4f8a5b", "#7b4b94", "#8c6d31", "#e377c2", "#22313a", "#8fa3ad")


@dataclass(frozen=True, slots=True)
class Turn:
    """A phase enters or leaves the hull. above: eV/atom after it; others: whom it displaced, or who displaced it."""

    at: datetime
    entered: bool
    above: float
    others: str


@dataclass(frozen=True, slots=True)
class Track:
    """One entry.

    formula, mark: what it is called; mark: of several of one formula, the beginning of the id, else empty
    steps: (moment, eV/atom above the hull from then on; None: no entry); reigns: when it was on the hull
    """

    formula: str
    mark: str
    label: str
    steps: tuple[tuple[datetime, float | None], ...]
    reigns: tuple[tuple[datetime, datetime], ...]
    turns: tuple[Turn, ...]

    def name(self, opening: str = "", closing: str = "") -> str:
        """Between marks of a subscript the counts of the formula, see `subscripted`."""
        return subscripted(self.formula, opening, closing) + (f" ({self.mark})" if self.mark else "")


@dataclass(frozen=True)
class HistoryDrawing:
    """The tracks, in the order in which they came, and the span of time. left_out: entries that have no room."""

    title: str
    tracks: tuple[Track, ...]
    begin: datetime
    end: datetime
    left_out: int

    @property
    def margin(self) -> timedelta:
        return (self.end - self.begin) * 0.02

    @property
    def subtitle(self) -> str:
        drawn = f"the {len(self.tracks)} that left or displaced others last, or lay nearest the hull"
        return f"{drawn}; {self.left_out} others aren't drawn" if self.left_out else ""


def history_html(entries: Sequence[Row], title: str, end: datetime) -> str:
    """A page that needs no network; see `history_drawing`."""
    from api.pictures.hull_history_html import page

    return page(history_drawing(entries, title, end))


def history_png(entries: Sequence[Row], title: str, end: datetime) -> bytes:
    """The same as a PNG of about 1800 pixels; see `history_drawing`."""
    from api.pictures.hull_history_png import picture

    return picture(history_drawing(entries, title, end))


def history_drawing(entries: Sequence[Row], title: str, end: datetime, most: int = MOST_TRACKS) -> HistoryDrawing:
    """Chooses what is drawn of the entries of `registry.hull.history.history`, until `end`.

    Those that left the hull or displaced others, the latest first; then those that are or were on it, and the nearest.
    Raises HullError where there is nothing to draw.
    """
    if not entries:
        raise HullError("a history of nothing can't be drawn")
    chosen = sorted(entries, key=_dullness)[:most]
    chosen.sort(key=lambda entry: (entry["states"][0]["valid_from"], entry["reduced_formula"], entry["id"]))
    begin = min(entry["states"][0]["valid_from"] for entry in chosen)
    end = max(end, begin + timedelta(minutes=1))
    named = Counter(entry["reduced_formula"] for entry in chosen)
    tracks = tuple(_track(entry, end, alone=named[entry["reduced_formula"]] == 1) for entry in chosen)
    return HistoryDrawing(title, tracks, begin, end, len(entries) - len(chosen))


def _dullness(entry: Row) -> tuple[Any, ...]:
    falls = [one["at"].timestamp() for one in (*entry["displaced_by"], *entry["displaced"])]
    lost = [one["at"].timestamp() for one in entry["changes"] if one["was"] == 0 and one["change"] != "entered"]
    stable = any(state["is_stable"] for state in entry["states"])
    nearest = min(state["e_above_hull"] for state in entry["states"])
    is_element = "-" not in entry["chemsys"]
    return (-max([*falls, *lost], default=0.0), not stable, is_element, nearest, entry["id"])


def _track(entry: Row, end: datetime, *, alone: bool) -> Track:
    states = entry["states"]
    steps: list[tuple[datetime, float | None]] = []
    for state, following in zip(states, [*states[1:], None], strict=True):
        steps.append((state["valid_from"], state["e_above_hull"]))
        if state["valid_to"] is not None and (following is None or following["valid_from"] != state["valid_to"]):
            steps.append((state["valid_to"], None))
    turns = [
        _turn(entry, change) for change in entry["changes"] if change["change"] in {"entered", "left", "withdrawn"}
    ]
    mark = "" if alone else entry["id"].removeprefix("lode-")[:5]
    reigns = tuple(_reigns(states, end))
    return Track(entry["reduced_formula"], mark, entry["id"], tuple(steps), reigns, tuple(turns))


def _turn(entry: Row, change: Row) -> Turn:
    entered = change["change"] == "entered"
    others = [one for one in entry["displaced" if entered else "displaced_by"] if one["at"] == change["at"]]
    own = entry["reduced_formula"]
    formulas = dict.fromkeys(one["reduced_formula"] for one in others)
    names = ", ".join(f"another {own}" if formula == own else formula for formula in formulas)
    if entered:
        return Turn(change["at"], True, 0.0, f"displaces {names}" if names else "")
    above = change["e_above_hull"]
    words = "withdrawn" if above is None else f"{_milli(above)} meV" + (f" by {names}" if names else "")
    return Turn(change["at"], False, change["was"] if above is None else above, words)


def _milli(above: float) -> str:
    return f"+{above * 1000:.{0 if above > 0.001 else 2}f}"


def _reigns(states: Sequence[Row], end: datetime) -> list[tuple[datetime, datetime]]:
    """Stretches on the hull, neighbouring states joined."""
    reigns: list[tuple[datetime, datetime]] = []
    for state in states:
        if not state["is_stable"]:
            continue
        until = state["valid_to"] or end
        if reigns and reigns[-1][1] == state["valid_from"]:
            reigns[-1] = (reigns[-1][0], until)
        else:
            reigns.append((state["valid_from"], until))
    return reigns


def notes(drawing: HistoryDrawing, track: Track, letters: float) -> Iterator[tuple[datetime, str, bool]]:
    """(end of a reign, why it ended, whether that is written behind the bar rather than within), where there is room.

    letters: how many the whole span of time has room for
    """
    ends = {turn.at: turn.others for turn in track.turns if not turn.entered}
    starts = [start for start, _ in track.reigns[1:]] + [drawing.end + drawing.margin]
    for (start, until), following in zip(track.reigns, starts, strict=False):
        words = ends.get(until, "")
        needed = (drawing.end - drawing.begin) * ((len(words) + 2) / letters)
        if words and max(following - until, until - start) >= needed:
            yield until, words, following - until >= needed


def subscripted_formulas(words: str, opening: str, closing: str) -> str:
    """With the counts of formulas as subscripts, other numbers as they are."""
    front, by, formulas = words.partition(" by ")
    return front + by + subscripted(formulas, opening, closing)
