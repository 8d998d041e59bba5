"""Fixtures that tests share; the environment they run in is set by the `conftest.py` at the top."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parents[1]
