"""OPTIMADE servers that are down, slow, broken or none: one line each, and what came before stays."""

from __future__ import annotations

import json
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.cli.importing import import_
from registry import provider_imports
from registry.errors import BadRecord, ProviderError
from registry.importers import ImportedRecord, Item, web
from registry.importers.optimade import open_provider
from registry.importers.providers import Delivery, Query
from registry.importers.web import Patience
from registry.models import Source, Structure
from tests.registry.importers.optimade_server import entry, salt
from tests.registry.importers.scripted_server import Answer, Script, info, page, scripted, told

HASTY = Patience(tries=3, pause=0.01, connect=0.5, silence=0.5, answer=2.0)
FIRST, SECOND = "/v1/structures", "/v1/structures?page_offset=2"
ENTRIES = [entry(f"salt/{index}", salt(index)) for index in range(6)]
HTML = Answer(b"<!DOCTYPE html><html>404</html>")


def delivered(url: str) -> Delivery:
    return open_provider(Query(f"optimade:{url}"), HASTY)


def script(*answers: Answer, hello: Answer | None = None) -> Script:
    """The info, two structures on the first page, and on the second what is given, the last again and again."""

    def answer(path: str, before: int) -> Answer:
        if path == "/v1/info":
            return hello or info()
        if path == FIRST:
            return page(ENTRIES[:2], {"href": SECOND})
        return answers[min(before, len(answers) - 1)]

    return answer


def read(*answers: Answer) -> list[Item]:
    with scripted(script(*answers)) as url:
        return list(delivered(url).items)


@pytest.mark.parametrize(
    ("passing", "last"),
    [
        (told({}, 503), 2),
        (told({}, 429, Retry_After="0"), 2),
        (told({}, 500), 1),
        (Answer(b'{"data": [', length=1000), 2),
        (Answer(silence=1.0), 1),
        (Answer(b"no gzip", headers={"Content_Encoding": "gzip"}), 1),
    ],
    ids=["503", "429", "500", "cut", "silence", "gzip"],
)
def test_what_passes_is_tried_again(passing: Answer, last: int):
    found = read(*[passing] * last, page(ENTRIES[2:4]))
    assert [type(item) for item in found] == [ImportedRecord] * 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (told({}, 503), "HTTP 503 Service Unavailable (asked 3 times)"),
        (told({"errors": [{"title": "Gone", "detail": "moved\nto Mars"}]}, 410), "HTTP 410 Gone: moved to Mars"),
        (told({"errors": []}, 404), "HTTP 404 Not Found"),
        (HTML, "the answer isn't JSON, it begins with '<!DOCTYPE html><html>404</html>'"),
        (Answer(b"\xff\xfe{}"), "the answer isn't JSON"),
        (Answer(b"[" * 100_000), "the answer isn't JSON"),
        (told([1, 2]), "the answer is JSON, but no object"),
        (told({"error": "no"}), "this is JSON, but no page of OPTIMADE structures"),
        (Answer(b'{"data": [', length=1000), "the answer broke off (asked 3 times)"),
        (Answer(silence=1.0), "no answer in time (asked 3 times)"),
        (Answer(code=301, headers={"Location": SECOND}), "Exceeded 30 redirects"),
        (page(ENTRIES[2:4], SECOND), "linked as the next page, but read before"),
        (page(ENTRIES[2:4], {"href": FIRST}), "linked as the next page, but read before"),
        (page(ENTRIES[:2], "/v1/structures?page_offset=4"), "the same page twice"),
        (page(ENTRIES[2:4], None, more_data_available=True), "says that there is more, but not where"),
        (page(ENTRIES[2:4], "http://[::1"), "the link to the next page is no URL"),
        (page(ENTRIES[2:4], "file:///etc/hostname"), "No connection adapters were found"),
    ],
)
def test_what_breaks_off_is_one_line_and_what_came_before_stays(answer: Answer, reason: str):
    *before, last = read(answer)
    assert len(before) in (2, 4)
    assert all(isinstance(item, ImportedRecord) for item in before)
    assert isinstance(last, BadRecord)
    assert reason in last.reason
    assert last.reason.endswith(f"; the {len(before)} records before stay, and the same command brings the rest")
    assert len(last.reason.splitlines()) == 1


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (HTML, "the answer isn't JSON"),
        (told({"data": {"attributes": {}}}), "this is JSON, but no OPTIMADE server's"),
        (told({"meta": None, "data": [1]}), "this is JSON, but no OPTIMADE server's"),
        (info(is_index=True), "an index of databases, and no database"),
        (told({}, 404), "HTTP 404 Not Found"),
        (told({}, 502), "HTTP 502 Bad Gateway (asked 3 times)"),
    ],
)
def test_servers_that_are_no_databases(hello: Answer, reason: str):
    with scripted(script(hello=hello)) as url, pytest.raises(ProviderError) as caught:
        delivered(url)
    assert reason in str(caught.value)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ProviderError, match=r"/v1/info: .*Connection refused \(asked 3 times\)$"):
        delivered(url)
    with pytest.raises(ProviderError, match=r"nowhere.invalid"):
        delivered("http://nowhere.invalid")


def test_pauses_grow_and_never_last_for_hours():
    patience = Patience(pause=1.0)
    assert [patience.before(attempt, 0.0) for attempt in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, web.LONGEST_PAUSE]
    assert [patience.before(1, asked) for asked in (20.0, 86_400.0)] == [20.0, web.LONGEST_PAUSE]


def test_a_server_that_drips_is_not_waited_for_without_end():
    said = pytest.raises(ProviderError, match=r"the answer wasn't complete after 0.3 s \(asked 1 times\)")
    with scripted(lambda _path, _before: Answer(b" " * 100, drip=0.02)) as url, said:
        open_provider(Query(f"optimade:{url}"), Patience(tries=1, answer=0.3))


def test_an_answer_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(web, "LARGEST_ANSWER", 1 << 20)
    *_, last = read(Answer(b" " * (2 << 20)))
    assert isinstance(last, BadRecord)
    assert "answers with more than 1 MB" in last.reason


@pytest.mark.parametrize(
    ("attributes", "licence", "non_commercial"),
    [
        ({"available_licenses": ["CC-BY-4.0"], "license": "https://x"}, "CC-BY-4.0", False),
        ({"available_licenses": ["CC-BY-NC-4.0"]}, "CC-BY-NC-4.0", True),
        ({"available_licenses": ["CC-BY-NC-4.0", "MIT"]}, "CC-BY-NC-4.0 or MIT", False),
        ({"license": {"href": "https://creativecommons.org/licenses/by-nc/4.0"}}, None, True),
        ({"license": "https://creativecommons.org/licenses/by/4.0", "available_licenses": []}, None, False),
        ({"license": None, "available_licenses": [None, 3]}, "unknown", False),
    ],
)
def test_terms_are_the_servers(attributes: dict[str, Any], licence: str | None, non_commercial: bool):
    with scripted(script(page([]), hello=info(**attributes))) as url:
        found = delivered(url)
    written = attributes.get("license")
    assert found.licence == (licence or (written["href"] if isinstance(written, dict) else written))
    assert found.non_commercial is non_commercial
    assert (found.source, found.citation) == ("Test Provider", "Test Provider, https://test.example")


def test_a_server_that_says_nothing_of_its_provider():
    anonymous = {**json.loads(info().body), "meta": {"api_version": "1.1", "provider": {"prefix": "Not A Prefix"}}}
    with scripted(script(page([]), hello=told(anonymous))) as url:
        found = delivered(url)
        items = list(found.items)
    assert found.source == url.removeprefix("http://")
    assert next(item.external_ids for item in items if isinstance(item, ImportedRecord)) == {"optimade": "salt/0"}


def test_a_limit_asks_for_no_page_more():
    def answer(path: str, before: int) -> Answer:
        assert path in ("/v1/info", FIRST)
        return script()(path, before)

    with scripted(answer) as url:
        items = delivered(url).items
        assert [next(items).record[-6:] for _ in range(2)] == ["salt/0", "salt/1"]


def test_memory_stays_flat_over_many_pages():
    body = [entry(f"e{index}", salt(0), _test_note="n" * 900) for index in range(50)]  # of 1.5 kB

    def answer(path: str, before: int) -> Answer:
        number = int(path.partition("=")[2] or 0)
        named = [{**one, "id": f"{number}-{index}"} for index, one in enumerate(body)]
        return (
            info() if path == "/v1/info" else page(named, f"{FIRST}?page_number={number + 1}" if number < 20 else None)
        )

    with scripted(answer) as url:
        items = delivered(url).items
        for _ in range(100):
            next(items)
        tracemalloc.start()
        assert sum(1 for _ in items) == 21 * 50 - 100
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2e6


def test_what_was_read_before_is_stored_and_the_rest_comes_with_the_same_command(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    monkeypatch.setattr(provider_imports, "BATCH", 2)
    with scripted(script(HTML, page(ENTRIES[1:5]))) as url:
        runs = [CliRunner().invoke(import_, ["--provider", f"optimade:{url}", "--json"]) for _ in range(2)]
    first, second = (json.loads(run.stdout) for run in runs)
    assert [run.exit_code for run in runs] == [1, 0]
    assert (first["read"], first["imported"], first["duplicates"]) == (3, 2, 0)
    assert "the 2 records before stay, and the same command brings the rest" in first["refused"][0]["reason"]
    assert second == {"read": 6, "imported": 3, "duplicates": 3, "refused": []}
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Structure)) == 5


def test_a_provider_of_which_nothing_can_be_stored_leaves_no_trace(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))

    def answer(path: str, before: int) -> Answer:
        return info() if path == "/v1/info" else page([{"id": "bad", "attributes": {}}])

    with scripted(answer) as url:
        done = CliRunner().invoke(import_, ["--provider", f"optimade:{url}"])
    assert done.exit_code == 1
    assert "lacks lattice_vectors, cartesian_site_positions, species_at_sites" in done.stderr
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Source)) == 0


@pytest.mark.parametrize(
    ("documentation", "values"),
    [
        (told({"data": {"properties": {"_test_band_gap": {"unit": "eV"}}}}), [1.5]),
        (told({"data": {"properties": {"_test_band_gap": {"x-optimade-unit": "eV"}}}}), [1.5]),
        (told({"data": {"properties": {"_test_band_gap": {"description": "a gap"}}}}), []),
        (told({"data": {"properties": ["_test_band_gap"]}}), []),
        (told({}, 404), []),
        (HTML, []),
    ],
)
def test_a_server_that_documents_nothing_loses_its_band_gaps_alone(documentation: Answer, values: list[float]):
    def answer(path: str, _before: int) -> Answer:
        gap = entry("gap", salt(7), _test_band_gap=1.5)
        return {"/v1/info": info(), "/v1/info/structures": documentation}.get(path) or page([*ENTRIES[:2], gap])

    with scripted(answer) as url:
        found = list(delivered(url).items)
    assert [type(item) for item in found] == [ImportedRecord] * 3
    assert [one.value for item in found for one in getattr(item, "properties", ())] == values
