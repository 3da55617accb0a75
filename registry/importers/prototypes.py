"""The AFLOW Library of Crystallographic Prototypes, as far as it ships inside pymatgen: 288 experimental crystals."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from registry.importers.pymatgen_json import read_document
from registry.importers.record import ImportedRecord, Item

SOURCE = "AFLOW prototypes"
CITATION = "Mehl et al., Computational Materials Science 136, S1 (2017)"


def read_prototypes() -> Iterator[Item]:
    """Every prototype, with its tags (mineral, aflow, strukturbericht, pearson) and reference as metadata.

    The external id is the AFLOW label and the place in the file ("AB_cF8_225_a_b#137"): some labels occur twice.
    """
    for index, document in enumerate(_library()):
        item = read_document(document["snl"], f"aflow_prototypes:{index}", SOURCE)
        yield _tagged(item, document, index) if isinstance(item, ImportedRecord) else item


def _tagged(item: ImportedRecord, document: dict[str, Any], index: int) -> ImportedRecord:
    tags = {key: value for key, value in document["tags"].items() if value}
    references = document["snl"]["about"]["references"]
    return ImportedRecord(
        crystal=item.crystal,
        record=item.record,
        source=SOURCE,
        external_ids={"aflow": f"{tags['aflow']}#{index}"},
        metadata=tags | {"references": references},
    )


def _library() -> list[dict[str, Any]]:
    """Read from pymatgen's folder: importing its module decodes the whole library a second time."""
    spec = find_spec("pymatgen.analysis")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pymatgen.analysis")
    path = Path(next(iter(spec.submodule_search_locations))) / "prototypes" / "aflow_prototypes.json.gz"
    library: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return library
