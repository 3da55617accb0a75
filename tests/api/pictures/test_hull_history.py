"""Pictures of the past of a hull: who is drawn, when it reigned, and that the files stand alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from api.pictures.hull_history import history_drawing, history_html, history_png, notes, subscripted_formulas
from registry.errors import HullError
from registry.hull.history import changes_of

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGAN + timedelta(days=100)


def day(number: int | None) -> datetime | None:
    return None if number is None else BEGAN + timedelta(days=number)


def entry(formula: str, *heights: tuple[int, float | None], key: str = "", **falls: Any) -> dict[str, Any]:
    """heights: (day, eV/atom above the hull from then on; None: withdrawn); on the hull at zero."""
    states = [
        {"valid_from": day(start), "valid_to": day(until), "e_above_hull": above, "is_stable": above == 0}
        for (start, above), (until, _) in pairwise([*heights, (None, None)])
        if above is not None
    ]
    events = {"displaced_by": [], "displaced": [], **falls}
    return {
        "id": f"lode-{key or formula.lower()}", "reduced_formula": formula, "chemsys": "Cl-Na", "states": states,
        "changes": list(changes_of(states)), **events,
    }  # fmt: skip


def fall(at: int, formula: str, fell_by: float = 0.3) -> dict[str, Any]:
    return {"at": day(at), "id": f"lode-{formula.lower()}", "reduced_formula": formula, "fell_by": fell_by}


SALTS = [
    entry("NaCl3", (0, 0.0), (40, 0.3), (80, 0.0), displaced_by=[fall(40, "NaCl")]),
    entry("NaCl", (40, 0.0), (80, None), displaced=[fall(40, "NaCl3")]),
    entry("Na3Cl", (20, 0.5), (30, 0.4)),
]


def test_reigns_and_turns():
    poor, other, salt = history_drawing(SALTS, "", END).tracks
    assert [track.formula for track in (poor, other, salt)] == ["NaCl3", "Na3Cl", "NaCl"]  # in the order of coming
    assert poor.reigns == ((day(0), day(40)), (day(80), END))
    assert [(turn.at, turn.entered, turn.above, turn.others) for turn in poor.turns] == [
        (day(0), True, 0.0, ""), (day(40), False, 0.3, "+300 meV by NaCl"), (day(80), True, 0.0, "")
    ]  # fmt: skip
    assert [turn.others for turn in salt.turns] == ["displaces NaCl3", "withdrawn"]
    assert salt.steps == ((day(40), 0.0), (day(80), None))
    assert (other.reigns, other.turns) == ((), ())


def test_a_reign_goes_on_over_states_that_differ_elsewhere():
    (track,) = history_drawing([entry("NaCl", (0, 0.0), (10, 0.0), (20, 0.0))], "", END).tracks
    assert track.reigns == ((day(0), END),)


def test_the_last_turns_come_first_then_the_stable_then_the_nearest():
    many = [entry(f"NaCl{n}", (1, 0.1 * n)) for n in range(4, 20)]
    drawn = history_drawing([*many, entry("Na2Cl", (1, 0.0)), *SALTS], "", END, most=5)
    assert [track.formula for track in drawn.tracks] == ["NaCl3", "Na2Cl", "NaCl4", "Na3Cl", "NaCl"]
    assert drawn.left_out == 15
    assert "15 others" in drawn.subtitle


def test_polymorphs_are_told_apart_by_their_ids():
    twins = [entry("NaCl", (0, 0.0), key="abcdefgh"), entry("NaCl", (0, 0.1), key="qrstuvwx")]
    assert [track.name("<", ">") for track in history_drawing(twins, "", END).tracks] == [
        "NaCl (abcde)",
        "NaCl (qrstu)",
    ]
    usurped = entry("NaCl", (0, 0.0), (9, 0.0004), displaced_by=[fall(9, "NaCl", 0.0004)])
    (track,) = history_drawing([usurped], "", END).tracks
    assert track.turns[1].others == "+0.40 meV by another NaCl"


def test_notes_are_written_only_where_there_is_room():
    drawn = history_drawing(SALTS, "", END)
    poor = drawn.tracks[0]
    assert list(notes(drawn, poor, letters=100)) == [(day(40), "+300 meV by NaCl", True)]
    assert list(notes(drawn, poor, letters=20)) == []
    late = history_drawing([entry("NaCl3", (0, 0.0), (98, 0.3), displaced_by=[fall(98, "NaCl")])], "", END)
    assert list(notes(late, late.tracks[0], letters=100)) == [(day(98), "+300 meV by NaCl", False)]


def test_energies_in_notes_have_no_subscripts():
    assert subscripted_formulas("+12 meV by Li3PO4", "<", ">") == "+12 meV by Li<3>PO<4>"
    assert subscripted_formulas("withdrawn", "<", ">") == "withdrawn"


@pytest.mark.parametrize(
    "entries",
    [SALTS, SALTS[2:], [entry("NaCl", (0, 0.0), (0, 0.1))], [entry("Li10GeP2S12" * 4, (0, 0.0), (5, 0.01))]],
    ids=["salts", "never stable", "one moment", "a long formula"],
)
def test_both_files_are_made(entries: list[dict[str, Any]]):
    png, html = history_png(entries, "Past <of> $_{", END), history_html(entries, "Past <of> $_{", END)
    assert png.startswith(b"\x89PNG")
    assert "Past &lt;of&gt;" in html
    assert "Plotly.newPlot" in html
    assert 'src="http' not in html


def test_an_end_before_the_beginning_is_moved():
    assert history_drawing(SALTS, "", BEGAN - timedelta(days=1)).end > BEGAN


def test_nothing_is_refused():
    with pytest.raises(HullError, match="nothing"):
        history_drawing([], "", END)
