"""docs/filters.md, written from the table of fields.

python -m registry.filters_page docs/filters.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from registry.query.fields import FIELDS, Field
from registry.query.filter import MAX_DEPTH, MAX_LENGTH

HEAD = f"""\
# Filters

Made by `make docs` from `registry/query/fields.py`; a test fails where this page lags behind it, and runs the examples.

A filter is OPTIMADE's, the same for `lode query`, `lode export --filter`, GraphQL (`materials(filter: "...")`) and
Python; [the OPTIMADE server](optimade.md) takes it with the standard's names and `_lode_` before ours. At most
{MAX_LENGTH:,} characters are read, and parentheses nest at most {MAX_DEPTH} deep; what can't be understood is shown
with a caret under the word.

| written | means |
|---|---|
| `nsites <= 20`, `20 >= nsites` | one of = != < <= > >=, with the field on either side |
| `source = "COD"` | text in double quotes; a quote or a backslash in it takes a backslash before it |
| `is_stable = TRUE` | TRUE or FALSE, in capitals, without quotes |
| `discovered_at >= "2026-01-31"` | a moment of ISO 8601; UTC where it names no time zone |
| `prototype STARTS "AB_"` | CONTAINS, STARTS, ENDS (or STARTS WITH, ENDS WITH): capitals count, nothing is a wildcard |
| `elements HAS "Li"` | the list holds it |
| `elements HAS ALL "Li","O"` | the list holds each of them, and maybe others |
| `elements HAS ANY "F","Cl"` | the list holds one of them at least |
| `elements HAS ONLY "Li","O"` | the list holds nothing else: the chemical system and its subsystems |
| `elements LENGTH >= 3` | how many the list holds |
| `band_gap IS KNOWN`, `IS UNKNOWN` | whether there is a value |
| `NOT a AND b OR c` | NOT before AND before OR: `((NOT a) AND b) OR c`; parentheses say otherwise |
| `... AS OF "2026-01-31"` | at the end: energies and places on the hull as they stood then |

A comparison with a value that nobody knows is neither true nor false, as in SQL: neither `e_above_hull < 0.1` nor
`NOT e_above_hull < 0.1` finds an unlabelled crystal, `e_above_hull IS UNKNOWN` does.

Chemical systems and formulas are read in any order: `chemsys = "O-Li"`, `reduced_formula = "O4PFeLi"` and
`"Li2Fe2(PO4)2"` are what they should be. CONTAINS, STARTS and ENDS see the formula as it is written here, `LiFePO4`.

Energies belong to a level of theory: name it (`--level`, or `level = "..."` in the filter) where more than one has a
hull. Results come by `e_above_hull`, or by any field that sorts (`--sort band_gap`, `--sort=-band_gap` for the largest
first); those without a value come last.

## Examples

| filter | finds |
|---|---|
"""

EXAMPLES = {
    'elements HAS ALL "Li","O" AND nelements<=4 AND e_above_hull<0.05': "lithium oxides on the hull or nearly",
    'elements HAS ONLY "Li","Fe","P","O" AND is_stable=TRUE': "the stable phases within Li-Fe-P-O",
    'elements HAS ANY "F","Cl","Br","I" AND NOT elements HAS ANY "Hg","Pb"': "halides without mercury and lead",
    'chemsys="Li-Fe-O" OR chemsys="Na-Fe-O"': "two chemical systems, without their subsystems",
    "elements LENGTH 3 AND nsites<=20": "ternaries in small cells",
    'reduced_formula="LiFePO4"': "one composition, all its polymorphs",
    'reduced_formula CONTAINS "PO4"': "formulas that are written with PO4",
    'anonymous_formula="ABC3" AND spacegroup_number=221': "cubic ones of the stoichiometry ABC3",
    'prototype STARTS WITH "AB_cF8_225"': "rock salts",
    'prototype="ABC3_cP5_221_a_b_c" AND NOT e_above_hull<0.1': "labelled perovskites that lie far above the hull",
    "is_stable=TRUE AND decomposition_energy < -0.05": "what is stable by more than 50 meV/atom",
    "phase_separation_energy<0 AND e_above_hull>0": "metastable polymorphs of stable compounds",
    "band_gap>1 AND band_gap<=3.5 AND dimensionality=2": "layered ones with a gap for visible light",
    "(band_gap>1 OR band_gap IS UNKNOWN) AND is_stable=TRUE": "stable ones that aren't known to have a small gap",
    'external_ids HAS ANY "mp-149","mp-22862"': "crystals by the ids of others",
    'origin="generated" AND e_above_hull IS UNKNOWN AND predicted_decomposition_energy<0': (
        "candidates that the model believes in and nobody has labelled"
    ),
    "spread IS KNOWN AND spread<0.05 AND predicted_formation_energy_per_atom < -1": "what the ensemble agrees on",
    "parent IS KNOWN AND is_stable=TRUE": "finds of the search",
    "duplicates IS KNOWN": "crystals that are stored more than once",
    "family IS KNOWN": "ordered approximants of a disordered crystal",
    'licence STARTS "CC" AND source!="GNoME"': "what may be passed on, from everywhere but GNoME",
    'discovered_at>="2026-01-01" AND discovered_at<"2026-07-01"': "what came in in half a year",
    'is_stable=TRUE AS OF "2026-02-01"': "the hull of a day",
}
"""Filter -> what it finds."""

ORDER = (
    "=", "!=", "<", "<=", ">", ">=", "CONTAINS", "STARTS", "ENDS", "HAS", "HAS ALL", "HAS ANY", "HAS ONLY", "LENGTH",
)  # fmt: skip
"""Of the operators of a row."""


def filters_page() -> str:
    """The whole page."""
    examples = [f"| `{text}` | {finds} |" for text, finds in EXAMPLES.items()]
    head = ["", "## Fields", "", "IS KNOWN and IS UNKNOWN go with all of them.", ""]
    columns = ["| field | type | unit | meaning | operators | sorts |", "|---|---|---|---|---|---|"]
    return HEAD + "\n".join([*examples, *head, *columns, *map(_row, FIELDS.values()), ""])


def _row(field: Field) -> str:
    operators = ", ".join(f"`{one}`" for one in ORDER if one in field.operators)
    sorts = "yes" if field.sorts else ""
    return f"| `{field.name}` | {field.type} | {field.unit or ''} | {field.description} | {operators} | {sorts} |"


def main() -> None:
    """Write the page where the first argument says."""
    Path(sys.argv[1]).write_text(filters_page())


if __name__ == "__main__":
    main()
