"""What a long answer's page costs, counted: bytes, readings of the attention, memory beyond the trace."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lvlmscope import Trace
from lvlmscope.explorer import word_maps
from lvlmscope.explorer.html_report import page
from lvlmscope.explorer.map_budget import kept_maps
from lvlmscope.explorer.word_maps import WordMaps
from tests.support.varied_traces import varied_trace


def test_each_step_is_read_twice_for_the_maps_of_a_quantity(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    whole = word_maps.mean_over_steps
    monkeypatch.setattr(word_maps, "mean_over_steps", lambda reader, steps: read.extend(steps) or whole(reader, steps))
    trace = varied_trace(gradients=True, steps=6)
    kept_maps(WordMaps(trace), room=1_000_000)
    assert sorted(read) == sorted([*range(6)] * 2 * 3)  # its image, its answer; three quantities


def test_a_page_makes_the_rows_of_a_trace_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Trace] = []
    rows = Trace._rows
    monkeypatch.setattr(Trace, "_rows", lambda self: made.append(self) or rows(self))
    trace = varied_trace(gradients=True)
    page(trace)
    assert made == [trace]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak")
def test_a_page_needs_far_less_than_one_more_copy_of_its_trace(repository: Path) -> None:
    script = repository / "docs" / "studies" / "scripts" / "long_page.py"
    command = [sys.executable, str(script), "200", "16", "16", "24"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=True)
    found = json.loads(run.stdout)
    assert found["trace_bytes"] > 150e6
    assert found["page_bytes"] < 8e6
    assert found["report"]["beyond_trace"] < 0.8
    assert found["words_and_maps_first"]["beyond_trace"] < 0.1
    assert found["summary"]["beyond_trace"] < 0.2
