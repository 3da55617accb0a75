"""The routes of the Materials Project that the client asks for entries, answered on this machine.

This is a recording and no Materials Project: it knows `/heartbeat`, `/materials/thermo/` and `/materials/summary/`, the
parameters `chemsys`, `_fields`, `_limit` and `_skip`, and answers with entries that were exported from the real one
(mp2024 of the shared data), wrapped as the documents of its API are. What it says of licences and band gaps is made up.
The client is the real one.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pymatgen.core import Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry

HEARTBEAT = {"status": "OK", "db_version": "2024.11.14", "version": "0.87.3", "access_controlled_batch_ids": []}
KEY = "k" * 32


def document(entry: dict[str, Any], licence: str = "BY-C", band_gap: Any = None) -> dict[str, Any]:
    """A thermo document around an exported entry, and what the summary of its material says."""
    material, _, _ = entry["entry_id"].rpartition("-GGA")
    written = entry["structure"]
    structure = Structure(written["lattice"], written["species"], written["abc"])
    inner = ComputedStructureEntry(
        structure,
        entry["energy"],
        correction=entry["correction"],
        parameters={"run_type": entry["run_type"], "hubbards": entry["hubbards"] or {}},
        data={"oxide_type": entry["oxide_type"]},
        entry_id=entry["entry_id"],
    )
    return {
        "material_id": material,
        "thermo_type": "GGA_GGA+U",
        "chemsys": "-".join(sorted(entry["composition"])),
        "entries": {entry["run_type"]: inner.as_dict()},
        "builder_meta": {"license": licence, "build_date": "2024-11-14T00:00:00"},
        "band_gap": band_gap,
        "is_gap_direct": band_gap == 2.5,
    }


@contextlib.contextmanager
def recorded(documents: Sequence[dict[str, Any]], key: str = KEY) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The URL of the service, and the queries that it was asked so far."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path.strip("/") == "heartbeat":
                self._answer(200, HEARTBEAT)
            elif self.headers.get("x-api-key") != key:
                self._answer(403, {"detail": "Invalid authentication credentials"})
            elif parts.path.strip("/") in ("materials/thermo", "materials/summary"):
                asked.append(query)
                self._answer(200, _page(documents, query))
            else:
                self._answer(404, {"detail": "Not Found"})

        def _answer(self, code: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
        server.shutdown()
        thread.join()


def _page(documents: Sequence[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    systems = query["chemsys"].split(",")
    found = [document for document in documents if document["chemsys"] in systems]
    start = int(query.get("_skip", 0))
    fields = query["_fields"].split(",")
    page = found[start : start + int(query.get("_limit", 1000))]
    return {
        "data": [{name: document[name] for name in fields} for document in page],
        "meta": {"total_doc": len(found), "max_limit": 1000},
    }
