"""A level of the stand-in engine, and a tiny ensemble at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.hull.level_rows import ensure_level
from tests.workers.models import save_tiny_model
from tests.workers.standin import standin_level


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an ensemble of three with weights by chance, at the stand-in's level."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def confident_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, which knows where it has learnt: see tests.workers.models.salts."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "confident", confident=True)


@pytest.fixture
def level_id(engine: Engine) -> int:
    """The stand-in's level in a fresh registry."""
    with Session(engine) as session, session.begin():
        return ensure_level(session, standin_level())
