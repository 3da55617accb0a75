"""lode lineage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from api.cli.output import as_json, print_json

if TYPE_CHECKING:
    from rich.tree import Tree

SHOWN = 8
"""Ways to one crystal, the likeliest; `--json` has them all."""

Row = dict[str, Any]


@click.command()
@click.argument("id_", metavar="ID")
@as_json
def lineage(id_: str, as_json: bool) -> None:
    """Show from which crystals the structure ID came, over all rounds, and the likeliest way."""
    from api.cli.database import questions
    from registry.query.ancestors import ancestors

    with questions() as session:
        found = ancestors(session, id_)
    print_json(found) if as_json else _print(found)


def _print(found: Row) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(f"{found['id']} {found['reduced_formula']} ({found['origin']})"))
    by_child: dict[str, list[Row]] = {}
    for step in found["steps"]:
        by_child.setdefault(step["child"], []).append(step)
    _grow(tree, found["id"], by_child, {found["id"]})
    Console(width=200, highlight=False).print(tree)
    click.echo(_said(found))


def _grow(tree: Tree, child: str, by_child: dict[str, list[Row]], shown: set[str]) -> None:
    """Under each crystal those that it was made from; what stands elsewhere already isn't drawn again."""
    from rich.text import Text

    steps = by_child.get(child, [])
    for step in steps[:SHOWN]:
        parent = step["parent"]
        again = parent in shown
        branch = tree.add(Text(_words(step) + (" …" if again and parent in by_child else "")))
        if parent is not None and not again:
            shown.add(parent)
            _grow(branch, parent, by_child, shown)
    if len(steps) > SHOWN:
        tree.add(Text(f"… and {len(steps) - SHOWN} more ways"))


def _words(step: Row) -> str:
    """ "ionic_substitution Cl1- -> Br1- (p 0.21, demo 1) from lode-… NaCl (imported)" """
    odds = [] if step["probability"] is None else [f"p {step['probability']:.2g}"]
    turn = [] if step["campaign"] is None else [f"{step['campaign']} {step['round']}"]
    about = f" ({', '.join(odds + turn)})" if odds or turn else ""
    parent = f" from {step['parent']} {step['parent_formula']} ({step['parent_origin']})" if step["parent"] else ""
    return f"{step['operation']}{_done(step['arguments'])}{about}{parent}"


def _done(arguments: Row) -> str:
    changes = [f"{one} -> {other}" for one, other in dict(arguments.get("mapping") or {}).items()]
    changes += [f"{one} -> {other}" for one, other in arguments.get("replaced") or []]  # of the likeliest
    changes += [f"{word} {arguments[word]}" for word in ("seed", "index") if word in arguments]
    if "replaced_by" in arguments:
        part = f"{len(arguments['sites'])} of {arguments['of']} {arguments['ion']} -> {arguments['replaced_by']}"
        rest = [] if arguments["kept_as"] == arguments["ion"] else [f"the others -> {arguments['kept_as']}"]
        changes = [part, *rest, *changes]
    return " " + ", ".join(changes) if changes else ""


def _said(found: Row) -> str:
    if not found["steps"]:
        return (
            "imported: nothing here led to it" if found["origin"] == "imported" else "no step that led to it is known"
        )
    likeliest = found["likeliest"]
    if likeliest is None:
        return "no way back to an imported crystal"
    way: Sequence[Row] = likeliest["steps"]
    names = [f"{step['child_formula']} ({step['child']})" for step in way]
    root = f"{way[-1]['parent_formula']} ({way[-1]['parent']})" if way[-1]["parent"] else way[-1]["operation"]
    told = any(step["probability"] is not None for step in way)
    odds = f", p {likeliest['probability']:.2g}" if told else ""
    return f"likeliest way{odds}: {' <- '.join([*names, root])}"
