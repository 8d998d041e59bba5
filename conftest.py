"""What every test, doctest and notebook runs under; set before anything imports torch, matplotlib or lvlmscope."""

import doctest
import inspect
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# Checks of models are remembered for this run only
os.environ["LVLMSCOPE_CHECK_EDITS"] = "now"  # an edit that is none fails where it is made
os.environ["LVLMSCOPE_CACHE"] = tempfile.mkdtemp(prefix="lvlmscope-tests-")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a notebook's kernel warns of frozen modules without

import jaxtyping
import pytest
import torch
from shape_checking import where_shapes_are_named

MAX_THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
SEED = 0

torch.set_num_threads(min(MAX_THREADS, torch.get_num_threads()))
os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # for the processes that tests start

# Shapes and types of every signature are checked while testing, and only then.
jaxtyping.jaxtyped = where_shapes_are_named
jaxtyping.install_import_hook("lvlmscope", "shape_checking.checked")

_defined_in_module = doctest.DocTestFinder._from_module  # noqa: SLF001 (no public way to widen it)


def _unwrapped_defined_in_module(self, module, thing):
    """doctest skips what a decorator wraps: its globals are the decorator's. The hook decorates everything."""
    return _defined_in_module(self, module, inspect.unwrap(thing) if callable(thing) else thing)


doctest.DocTestFinder._from_module = _unwrapped_defined_in_module  # noqa: SLF001


@pytest.fixture(autouse=True)
def _seeded():
    """Every test starts from the same random state, whatever ran before it."""
    torch.manual_seed(SEED)


SLOW_NOTEBOOKS = ("03_", "04_", "06_")


def pytest_collection_modifyitems(items):
    """The longest notebooks run where all that takes longer does."""
    for item in items:
        if item.path.suffix == ".ipynb" and item.path.name.startswith(SLOW_NOTEBOOKS):
            item.add_marker(pytest.mark.slow)
