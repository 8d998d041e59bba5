"""Edits of rows that torch compiles: the same results, few kernels, and what happens where it cannot."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.compiled_edits import RowEdit, row_edit
from tests.support.tiny_models import llava

COMPILED = ("DLEAF", "CLVA", "LocoRE", "HeadRescaling")


def compared(name: str, **options: Any) -> dict[str, Any]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.compiled_edits", name, json.dumps(options)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_edit_gives_the_same_in_few_kernels(name: str) -> None:
    found = compared(name)
    assert found["gap"] < 1e-5
    assert found["effect"] > 100 * found["gap"]
    assert found["edited"][0] == found["edited"][1] > 0
    assert found["reports"][1] == pytest.approx(found["reports"][0], rel=1e-4)
    assert found["kernels"]
    assert max(found["kernels"]) <= 5
    assert len(found["kernels"]) < found["calls"]


@pytest.mark.slow
def test_a_compiled_edit_works_beside_a_static_cache() -> None:
    found = compared("DLEAF", cache_implementation="static", disable_compile=True)
    assert found["gap"] < 1e-5
    assert found["edited"][0] == found["edited"][1] > 0


@pytest.mark.slow
def test_a_compiled_edit_works_in_a_compiled_model() -> None:
    found = compared("CLVA", compile_model=True)
    assert found["gap"] < 1e-5
    assert found["effect"] > 100 * found["gap"]
    assert max(found["kernels"]) <= 5


def rows(keys: int = 5) -> AttentionRows:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, keys, dtype=torch.bool)
    image[..., 1:3] = True
    return AttentionRows(torch.rand(1, 1, 2, keys), image, layer=0, image_span=(1, 3))


@row_edit(by_span=True)
def doubled(given: AttentionRows, shift: torch.Tensor, *, factor: float) -> torch.Tensor:
    return given.weights * factor + shift + given.image_mass.unsqueeze(-1)


class _Compiler:
    """In place of torch.compile: keeps what it is given, and how."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.options: list[dict[str, Any]] = []
        self._error = error

    def __call__(self, function: Any, **options: Any) -> Any:
        self.options.append(options)

        def compiled(*args: Any) -> Any:
            self.calls.append(args)
            if self._error is not None:
                raise self._error
            return function(*args)

        return compiled


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    doubled.__init__(doubled._function, by_span=True)  # type: ignore[misc]


@torch.no_grad()
def test_each_setting_is_compiled_once_for_any_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = _Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    shift = torch.ones(1)
    for keys, factor in ((5, 2.0), (6, 2.0), (5, 3.0)):
        plain = doubled(rows(keys), shift, compiled=False, factor=factor)
        assert torch.equal(doubled(rows(keys), shift, compiled=True, factor=factor), plain)
    assert compiler.options == [{"dynamic": True, "fullgraph": True}] * 2
    assert [args[2] for args in compiler.calls] == [(1, 3)] * 3


def test_where_gradients_pass_the_edit_runs_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = _Compiler()
    monkeypatch.setattr(torch, "compile", compiler)
    doubled(rows(), torch.ones(1, requires_grad=True), compiled=True, factor=2.0).sum().backward()
    assert not compiler.calls


@torch.no_grad()
def test_what_cannot_be_compiled_runs_as_written_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    compiler = _Compiler(InternalTorchDynamoError("no compiler here\nand more"))
    monkeypatch.setattr(torch, "compile", compiler)
    plain = doubled(rows(), torch.ones(1), compiled=False, factor=2.0)
    with pytest.warns(UserWarning, match=r"doubled runs uncompiled: .*\(no compiler here\)"):
        assert torch.equal(doubled(rows(), torch.ones(1), compiled=True, factor=2.0), plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(doubled(rows(), torch.ones(1), compiled=True, factor=2.0), plain)
    assert len(compiler.calls) == 1


@torch.no_grad()
def test_an_error_of_the_edit_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", _Compiler(ValueError("the edit's own")))
    with pytest.raises(ValueError, match="the edit's own"):
        doubled(rows(), torch.ones(1), compiled=True, factor=2.0)


def test_an_intervention_without_such_an_edit_says_so() -> None:
    model = llava().model
    with pytest.warns(UserWarning, match="SGRS has no edit of rows that can be compiled"):
        handle = lv.attach(model, lv.SGRS(), lv.DLEAF(), compile=True)
    assert [each.session.compiled for each in handle._active] == [False, True]
    again = handle._active[1].fresh(handle._instrumentation.model_info)
    assert again.session.compiled
    handle.withdraw()


def test_an_edit_is_a_row_edit_wherever_a_session_says_so() -> None:
    from lvlmscope.interventions import clva, dleaf, head_rescaling, locore

    for module in (clva, dleaf, head_rescaling, locore):
        assert any(isinstance(each, RowEdit) for each in vars(module).values())
