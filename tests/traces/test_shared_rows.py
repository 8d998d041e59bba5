"""What is read from a trace several times in one call is computed once."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.diagnostics import planted_trace
from lvlmscope.traces.shared_rows import once_a_trace, sharing_rows
from lvlmscope.traces.word_signals import SIGNALS


def wrote(trace: lv.Trace, folder: Path) -> None:
    lv.report(trace, folder / "page.html")


def diagnosed(trace: lv.Trace, folder: Path) -> None:
    del folder
    lv.diagnose(trace)


@pytest.mark.parametrize("use", [wrote, diagnosed])
def test_image_mass_and_each_signal_are_computed_once(
    use: Callable[[lv.Trace, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*args, **options)

        return counted

    for name in ("image_mass", "layer_image_distribution"):
        held = vars(AttentionRows)[name]
        monkeypatch.setattr(held, "_make", counting(name, held._make))
    use(planted_trace(patch=7, layers=8), tmp_path)
    # Only the correlation of anchors reads the layers' distributions, and only once
    assert calls == {"image_mass": 1, "layer_image_distribution": 1}


@pytest.mark.slow
def test_a_page_with_its_diagnosis_needs_no_second_copy_of_the_trace(tmp_path: Path) -> None:
    """150 words, 32 layers, 32 heads: the peak of everything that is resident beyond what was before."""
    code = PEAK.format(path=str(tmp_path / "page.html"))
    peak = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(peak) <= 1.0  # of the trace's size, beside the trace


PEAK = """
import resource, sys
import torch
import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace

torch.set_num_threads(1)
lv.report(planted_trace(patch=7, layers=8), {path!r})
trace = planted_trace(steps=150, layers=32, heads=32, side=24)
size = trace.attention.numel() * 4

def resident():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

before = resident()
lv.report(trace, {path!r})
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print((peak - before) / size)
"""


def test_results_are_those_of_each_signal_by_itself() -> None:
    trace = planted_trace(patch=7, layers=8)
    for name in ("image_mass", "anchor_correlation"):
        found = [each for each in SIGNALS if name in each]
        for each in found:
            alone = SIGNALS[each].read(trace)
            with sharing_rows():
                shared = SIGNALS[each].read(trace)
            torch.testing.assert_close(torch.tensor(alone.values), torch.tensor(shared.values), equal_nan=True)


def test_traces_do_not_share_and_a_block_ends() -> None:
    one, other = planted_trace(steps=2), planted_trace(steps=2)
    with sharing_rows():
        first = one.rows()
        with sharing_rows():
            assert one.rows() is first
            assert other.rows() is not first
        assert once_a_trace(one, "rows", one.rows) is first
    assert one.rows() is not first


def test_a_block_that_fails_shares_nothing_afterwards() -> None:
    trace = planted_trace(steps=2)
    with pytest.raises(KeyError), sharing_rows():
        SIGNALS["no such signal"].read(trace)
    assert trace.rows() is not trace.rows()
