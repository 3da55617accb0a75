"""What the consortium's own tools say of the server."""

from __future__ import annotations

import pytest
from optimade.models import StructureResponseMany
from optimade.validator import ImplementationValidator

from tests.api.optimade.conftest import Api


def assert_content(base: str) -> None:
    """Every check of the official validator passes, the optional ones too."""
    validator = ImplementationValidator(base_url=base, respond_json=True)
    validator.validate_implementation()
    results = validator.results
    assert results.failure_messages == []
    assert results.internal_failure_messages == []
    assert results.optional_failure_messages == []
    assert validator.valid
    assert results.success_count > 40


@pytest.mark.parametrize("version", ["", "/v1.2"])
def test_the_validator_is_content(api: Api, version: str) -> None:
    assert_content(api.base + version)


def test_the_validator_is_content_with_real_crystals(library: Api) -> None:
    assert_content(f"{library.base}/v1")


def test_every_entry_is_of_the_standards_models(api: Api, library: Api) -> None:
    for served in (api, library):
        answer = served.get("/v1/structures", page_limit=500)
        assert len(StructureResponseMany(**answer).data) == answer["meta"]["data_returned"] > 200
