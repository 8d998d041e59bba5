"""Fixtures that tests share; the environment they run in is set by the `conftest.py` at the top."""

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from hypothesis import settings

# A busy machine is no failure: what a test may take is the suite's budget
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Arguments as users without the shape checker give them, so that the library's own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
