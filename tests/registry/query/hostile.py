"""Filters that nobody means well with."""

from __future__ import annotations

LIMIT = 8_192

REFUSED: dict[str, str] = {
    "10,000 nested parentheses": "(" * 10_000 + "nsites=1" + ")" * 10_000,
    "4,000 open ones": "(" * 4_000,
    "8,000 closed ones": ")" * 8_000,
    "a word of 1 MB": "a" * 1_000_000,
    "a string of 1 MB": f'source="{"a" * 1_000_000}"',
    "10,000 ANDs": " AND ".join(["nsites=1"] * 10_000),
    "600 ANDs and a mistake": " AND ".join(["nsites=1"] * 600) + " AND nsite=1",
    "10,000 NOTs": "NOT " * 10_000 + "nsites=1",
    "2,000 NOTs": "NOT " * 2_000,
    "tabs without an end": 'source="' + "\t" * 8_000,
    "escaped quotes without an end": 'source="' + '\\"' * 4_000,
    "backslashes without an end": 'source="' + "\\" * 8_001,
    "quotes": '"' * 8_000,
    "backslashes": "\\" * 8_000,
    "minuses": "-" * 8_000,
    "line breaks": "\n" * 8_000 + "nsites",
    "a number and a letter": "nsites=" + "9" * 8_000 + "x",
    "a number without end": "nsites=1e999999",
    "a negative one": "volume > -1e999999",
    "100,000 digits": "nsites=" + "9" * 100_000,
    "8,000 digits": "volume<" + "9" * 8_000,
    "a length of 8,000 digits": "elements LENGTH " + "9" * 8_000,
    "parentheses of a formula": 'reduced_formula="' + "(" * 8_000 + '"',
    "atoms of a formula": 'reduced_formula="Li' + "9" * 8_000 + '"',
    "an amount of 8,000 digits": 'anonymous_formula="A' + "9" * 8_000 + '"',
    "dashes of a chemical system": 'chemsys="' + "Li-" * 2_500 + '"',
    "10,000 values": "elements HAS ANY " + ",".join(['"Li"'] * 10_000),
    "1,500 values and a mistake": "elements HAS ANY " + ",".join(['"Li"'] * 1_500) + ',"li"',
    "10,000 unknown fields": " AND ".join(f"nsites{number}=1" for number in range(10_000)),
    "500 unknown fields": " AND ".join(f"nsites{number}=1" for number in range(500)),
    "a long unknown field": "e_above_" * 1_000 + "=1",
    "a field of 4,000 parts": "nsites" + ".a" * 4_000 + "=1",
    "NUL": 'source="a\x00b"',
    "NUL in a field": "\x00=1",
    "half a surrogate pair": 'source="\ud800"',
    "half of one in a field": "\ud800=1",
    "joiners": "\u200d" * 8_000,
    "text from right to left": "\u202e\u2066 = 1",
    "the year 99999": 'AS OF "99999-01-01"',
    "a year before Christ": 'AS OF "-0044-03-15"',
    "a moment before the calendar": 'AS OF "0001-01-01T00:00:00+14:00"',
    "a moment after it": 'AS OF "9999-12-31T23:59:59-14:00"',
    "infinity": 'AS OF "infinity"',
    "a moment of 8,000 digits": 'AS OF "' + "9" * 8_000 + '"',
}  # fmt: skip
"""Each is told what is wrong with it."""

TEXTS = (
    "'; DROP TABLE structure; --",
    "$$; DELETE FROM structure; $$",
    "%s %(level_id)s :level_id {0} ? \\'",
    "(a+)+$" * 1_000,
    "a" * 8_000,
    "\t\n\r\f\v" * 1_000,
    "e\u0301\u0302\u0303" * 2_000,
    "\u202e\u200d\U0001f48e" * 100,
)
"""They are just texts, and find nothing."""


def quoted(words: str) -> str:
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'


HARMLESS: dict[str, str] = {
    "600 ORs": " OR ".join(["nsites=99"] * 600),
    "400 NOTs": " AND ".join(["NOT nsites>0"] * 400),
    "60 parentheses": "(" * 60 + "nsites=99" + ")" * 60,
    "60 NOTs in each other": "NOT (" * 60 + "nsites=99" + ")" * 60,
    "1,500 elements": "elements HAS ALL " + ",".join(['"Xe"'] * 1_500),
    "1,200 names, any of them": "external_ids HAS ANY " + ",".join(f'"{number}"' for number in range(1_200)),
    "1,200 names, all of them": "external_ids HAS ALL " + ",".join(f'"{number}"' for number in range(1_200)),
    "1,200 duplicates": "duplicates HAS ALL " + ",".join(f'"{number}"' for number in range(1_200)),
    "200 structure types": " AND ".join(f'prototype="{number}"' for number in range(200)),
    "200 band gaps": " AND ".join(f"band_gap>{number}" for number in range(200)),
    "the first day": 'nsites=99 AS OF "0001-01-01"',
    "the last day": 'nsites=99 AS OF "9999-12-31T23:59:59.999999"',
    "a formula of 2,000 groups": 'reduced_formula="' + "(Xe)9" * 1_600 + '"',
    "an anonymous formula of 8,000 letters": 'anonymous_formula="' + "A" * 8_000 + '"',
}
"""They fit, and find nothing."""
