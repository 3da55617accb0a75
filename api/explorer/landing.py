"""The page at /: what the registry holds, the newest stable materials, and where to ask."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from registry import queue
from registry.database import answer_within
from registry.errors import TooSlow
from registry.query import holdings, materials

NEWEST = 20
SECONDS = 10
"""For each of its statements: anybody may call the page."""

COLUMNS = {
    "reduced_formula": "formula",
    "spacegroup_number": "space group",
    "formation_energy_per_atom": "formation energy, eV/atom",
    "decomposition_energy": "decomposition energy, eV/atom",
    "source": "source",
    "discovered_at": "since",
}
WORDS = {"imported": "crystals imported", "generated": "candidates kept", "labelled": "energies", "failed": "failures"}
EXAMPLE = """{
  materials(filter: "e_above_hull<0.05 AND nelements>=2", first: 10) {
    count { value kind }
    nodes { id reducedFormula spacegroupNumber eAboveHull decompositionEnergy
            predictions { formationEnergyPerAtom spread model { name } }
            parents { operation material { reducedFormula } } }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def page(request: Request) -> Response:
    """The route /."""
    try:
        return HTMLResponse(await to_thread.run_sync(_rendered, request.app.state.engine))
    except TooSlow:
        return PlainTextResponse("counting took too long: ask at /graphql, or come back later", 503)


def _rendered(engine: Engine) -> str:
    template = Template((resources.files("api.explorer") / "landing.html").read_text())
    with Session(engine) as session:
        answer_within(session, SECONDS)
        hulls = holdings.hulls(session)
        return template.substitute(
            counts=_definitions({WORDS.get(key, key): value for key, value in holdings.counts(session).items()}),
            hulls=_table(["name", "functional", "engine", "entries", "on_hull"], hulls) or _none("No hull yet."),
            work=_table(["kind", "waiting", "running", "dead"], _work(session)),
            newest="".join(_newest(session, hull["name"]) for hull in hulls) or _none("Nothing is on a hull yet."),
            example=escape(EXAMPLE),
            link=escape(f"/graphql#query={quote(EXAMPLE)}"),
        )


def _work(session: Session) -> list[dict[str, Any]]:
    return [{"kind": kind, **states} for kind, states in queue.summary(session).items()]


def _newest(session: Session, level: str) -> str:
    stable = "is_stable=TRUE AND nelements>=2"
    found = materials.search(session, stable, level, "-discovered_at", NEWEST, fields=list(COLUMNS))
    rows = [{COLUMNS[key]: _shown(key, row[key]) for key in COLUMNS} for row in found.data]
    return f"<h3>{escape(level)}</h3>" + (_table(list(COLUMNS.values()), rows) or _none("No compound yet."))


def _shown(key: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if key == "discovered_at":
        return str(value)[: len("2026-01-31")]
    return "" if value is None else str(value)


def _definitions(values: dict[str, int]) -> str:
    return "".join(f"<div><dt>{escape(key)}</dt><dd>{value:,}</dd></div>" for key, value in values.items())


def _table(columns: list[str], rows: Iterable[dict[str, Any]]) -> str:
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(row[key]))}</td>' for key in columns)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""


def _none(sentence: str) -> str:
    return f'<p class="none">{escape(sentence)}</p>'
