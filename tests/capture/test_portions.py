"""As many steps at a time as fit into the memory allowed, to the byte."""

from dataclasses import replace
from typing import Any

import pytest

from lvlmscope.capture.memory_limit import estimate_inputs
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.portions import Portions, portions
from lvlmscope.capture.signal_reduction import reducing
from lvlmscope.errors import MemoryLimitError
from lvlmscope.models.families import family_of
from tests.support import tiny_models

STEPS = 9


def held(limit: int, *, signals: tuple[str, ...] = ("image_attention_focus",), edited: bool = False) -> Portions:
    case = tiny_models.llava()
    options = reducing(signals, gradients=False, hidden_states=False, max_memory=limit)
    return portions(options, case.model, family_of(case.model), case.inputs, STEPS, edited=edited)


def peak(steps: int) -> int:
    """Of a window at the answer's end: its rows, and what signals make of them."""
    case = tiny_models.llava()
    kept: dict[str, Any] = {"gradients": False, "hidden_states": False, "keep": "all", "precision": "float32"}
    found = estimate_inputs(case.model, family_of(case.model), case.inputs, steps, before=STEPS - steps, **kept)
    assert found.working > 2 * found.kept  # which decides here
    return found.kept + found.working


@pytest.mark.parametrize("steps", range(1, STEPS))
def test_the_largest_window_that_fits_is_taken_to_the_byte(steps: int) -> None:
    assert peak(steps) < peak(steps + 1)
    assert held(peak(steps)) == Portions(window=steps)
    assert held(peak(steps + 1) - 1) == Portions(window=steps)


@pytest.mark.parametrize("steps", range(1, STEPS))
def test_of_wide_rows_three_copies_have_to_fit(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows as they came, as a trace, and what signals make of them."""

    def wide(*given: Any, **options: Any) -> Any:
        found = estimate_inputs(*given, **options)
        return replace(found, rows=found.rows + found.working, working=0, mixing=0)

    monkeypatch.setattr("lvlmscope.capture.portions.estimate_inputs", wide)
    case = tiny_models.llava()
    kept: dict[str, Any] = {"gradients": False, "hidden_states": False, "keep": "all", "precision": "float32"}
    found = wide(case.model, family_of(case.model), case.inputs, steps, before=STEPS - steps, **kept)
    assert held(3 * found.kept) == Portions(window=steps)
    if steps > 1:
        assert held(3 * found.kept - 1) == Portions(window=steps - 1)


def test_all_steps_at_once_where_they_fit_and_a_refusal_where_not_even_one_does() -> None:
    assert held(peak(STEPS)) == Portions()
    with pytest.raises(MemoryLimitError, match="max_memory of"):
        held(peak(1) - 1)
    with pytest.raises(MemoryLimitError, match="max_memory of"):
        held(peak(3), edited=True)  # what an intervention knows goes through the answer from its start


def test_rows_that_are_kept_are_never_read_in_windows() -> None:
    case = tiny_models.llava()
    given = (case.model, family_of(case.model), case.inputs, STEPS)
    with pytest.raises(MemoryLimitError, match="max_memory of"):
        portions(TraceOptions(max_memory=peak(3)), *given, edited=False)
