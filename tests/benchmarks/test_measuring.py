"""The command that measures, on the smallest model: what it writes, and how it compares."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import arithmetic, edits, launches, memory, peers, timing
from benchmarks.__main__ import TABLES, main
from benchmarks.page import markdown
from benchmarks.peaks import resident_peaks
from benchmarks.tables import Plan, Table
from benchmarks.timing import Seconds, TokenClock, in_turn, spent, timing_row


def plan(device: str = "cpu", dtype: torch.dtype = torch.float32, peer: str = sys.executable) -> Plan:
    sizes: dict[str, Any] = {"rounds": 1, "tokens": 4, "batches": (1,), "threads": 1}
    return Plan(device=device, dtype=dtype, shapes=("smallest",), peers=peer, **sizes)


def test_the_command_writes_a_page_and_its_numbers_and_keeps_other_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Table(title="Kernels", about="Few.", columns={"kernels": "count"}, rows=[{"kernels": 1_234}])
    monkeypatch.setattr(launches, "measure", lambda _: counted)
    files = ["--json", str(tmp_path / "found.json"), "--page", str(tmp_path / "page.md")]
    small = ["--models", "smallest", "--rounds", "2", "--tokens", "4", "--batches", "1", *files]
    main(["--only", "traces", *small])
    main(["--only", "counts", *small])
    found = json.loads((tmp_path / "found.json").read_text())["tables"]
    assert list(found) == ["counts", "traces"]
    rows = found["traces"]["rows"]
    assert rows[0]["run"] == "generate"
    assert rows[0]["wall_ratio"] == 1
    assert all(len(row["wall_samples"]) == 2 and row["cpu"] > 0 for row in rows)
    page = (tmp_path / "page.md").read_text()
    assert page.index("| 1,234 |") < page.index("## A trace")
    assert "python -m benchmarks --only traces --models smallest" in page
    assert f"torch {torch.__version__}" in page
    assert "No accelerator was available" in page


def test_a_trace_is_arithmetic_of_every_row_once_more() -> None:
    rows = {row["run"]: row["ratio"] for row in arithmetic.measure(plan()).rows}
    assert 1 < rows["trace"] < rows["trace(gradients=True)"] < 3


def test_ratios_are_of_rounds_not_of_medians() -> None:
    floor = [Seconds(1, 1), Seconds(2, 2), Seconds(10, 4)]
    own = [Seconds(2, 1), Seconds(4, 2), Seconds(5, 8)]
    found = timing_row(own, floor)
    assert (found["wall"], found["wall_ratio"]) == (4, 2)
    assert (found["cpu"], found["cpu_ratio"]) == (2, 1)


def test_variants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    times = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}


def test_a_run_may_tell_its_own_time() -> None:
    assert spent(lambda: Seconds(7, 8)) == Seconds(7, 8)


def test_the_clock_leaves_the_prompt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 11.0, 13.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(timing.time, "process_time", lambda: 0.0)
    clock = TokenClock()
    for _ in range(3):
        assert not clock(torch.zeros(2, 3), torch.zeros(2, 5)).any()
    assert clock.per_token == Seconds(1.5, 0.0)


def test_an_accelerator_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.fail("run the command itself: there is an accelerator here")
    with pytest.raises(SystemExit):
        main(["--device", "cuda"])
    assert "torch sees no accelerator here" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
def test_what_an_accelerator_runs_runs_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its branches on the CPU: models stay in this process, and memory is what torch counts."""

    def counted(run: Any) -> float:
        run()
        return 5.0

    monkeypatch.setattr(Plan, "on_accelerator", property(lambda _: True))
    monkeypatch.setattr(edits, "device_peak", counted)
    monkeypatch.setattr(memory, "device_peak", counted)
    monkeypatch.setattr(memory, "LENGTHS", (30, 60))
    given = plan(dtype=torch.bfloat16)
    table = edits.measure(given)
    assert [row["run"] for row in table.rows] == [
        "generate",
        *edits.interventions(given.prepared(given.shapes[0]).model),
    ]
    assert {row["peak"] for row in table.rows} == {0.0}
    assert all(row["wall"] > 0 for row in table.rows)
    beyond = memory.measure(given).rows
    assert beyond[1] == {"run": "trace", "30": 0.0, "60": 0.0}
    assert 0 < beyond[-1]["30"] < beyond[-1]["60"]


def _held(megabytes: int) -> None:
    torch.zeros(megabytes * 250_000).add_(1)


@pytest.mark.slow
def test_a_peak_is_what_a_call_holds_beyond_what_was_there() -> None:
    few, many = resident_peaks(_held, [(40,), (200,)], warm=[(1,), (1,)])
    assert many - few == pytest.approx(160, abs=20)


def test_a_package_that_is_not_there_says_why() -> None:
    found = peers._in_own_process(plan(peer=sys.executable), "vl-saliency")
    assert "No module named 'vl_saliency'" in found["fails"]


@pytest.mark.slow
def test_other_packages_are_run_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PEERS", {"lvlmscope": peers.PEERS["lvlmscope"]})
    floor, ours = peers.measure(plan()).rows
    assert floor["peak"] == 0
    assert ours["wall_ratio"] > 0
    assert ours["version"]


def test_cells_that_are_not_known_stay_empty() -> None:
    machine = {"processor": "P", "cores": 2, "memory_gb": 8.0, "python": "3", "versions": {"torch": "2"}}
    made = {"command": "c", "when": "now", "load": 1.0, "machine": machine}
    columns = {"run": "text", "wall": "s", "peak": "MB", "fails": "text"}
    rows = [{"run": "a", "wall": 1.234, "peak": -0.2}, {"run": "b", "fails": "no | module"}]
    page = markdown({"tables": {"0 x": {"title": "T", "about": "A.", "columns": columns, "rows": rows} | made}})
    assert "| a | 1.23 s | 0 MB |  |" in page
    assert "| b |  |  | no \\| module |" in page


def test_each_table_has_a_module() -> None:
    assert set(TABLES.values()) <= {path.stem for path in Path(peers.__file__).parent.glob("*.py")}
