"""What a decoded token launches under each intervention: kernels and host synchronisations, counted and not timed."""

import ast
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import lvlmscope
import lvlmscope as lv
from benchmarks.launches import Counted, per_token, trace_cost
from lvlmscope.errors import InterventionError
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.runtime.edit_record import CHECK_AT_ONCE
from lvlmscope.runtime.protocol import Session

IMAGE = 99
STACK = (lv.DLEAF(gamma=0.5), lv.CLVA(), lv.LocoRE())
# Most kernels a token, as a share of plain generation
BOUNDS: dict[str, tuple[tuple[Any, ...], float]] = {
    "DLEAF": ((lv.DLEAF(gamma=0.5),), 1.6),
    "CLVA": ((lv.CLVA(),), 1.4),
    "LocoRE": ((lv.LocoRE(),), 1.25),
    "HeadRescaling": ((lv.HeadRescaling(tau_perc=0.3, tau_reas=0.1, l_perc=3, l_reas=4),), 1.3),
    "HalluRNN": ((lv.HalluRNN(cell=DepthCell(CellConfig(hidden_size=32))),), 1.4),
    "SGRS": ((lv.SGRS(k=5),), 3.0),
    "SPIN": ((lv.SPIN(suppressed=0.5, layers=(0.0, 0.5)),), 1.3),
    "DoLa": ((lv.DoLa(layers=[0, 2]),), 1.25),
    "DeCo": ((lv.DeCo(layers=[4, 5, 6]),), 1.25),
    "OPERA": ((lv.OPERA(image_steps=2),), 2.3),  # a second sequence, for which nobody waits
    "PAI, attention": ((lv.PAI(gamma=1.0),), 1.65),
    "stack": (STACK, 2.4),
}
# Those with a second sequence: its own forward, and what that waits for
BRANCHED: dict[str, tuple[Any, float]] = {
    "VCD": (lv.VCD(), 2.1),
    "ICD": (lv.ICD(disturbance=(3, 4, 5)), 2.1),
    "M3ID": (lv.M3ID(), 2.1),
    "PAI": (lv.PAI(), 2.7),
    "AGLA": (lv.AGLA(), 2.1),
}
ROOMS = ("attention", "hooks", "interventions", "runtime")
# What reads a tensor on the host, and when: every other function of these rooms runs in decode steps
READING = {
    "attention/option_checks.py": {"whole_number": "reads an option"},
    "attention/image_layout.py": {"of": "once a prompt"},
    "interventions/adhh.py": dict.fromkeys(("from_traces", "_text_mass"), "configures, from traces"),
    "interventions/forward_sums.py": {"by_layer": "for a report"},
    "interventions/head_rescaling.py": dict.fromkeys(("from_trace", "_between"), "configures, from a trace"),
    "interventions/key_positions.py": {"crosses": "once a layer"},
    "interventions/opera.py": {"report": "for a report"},
    "interventions/placebo.py": {"counts": "for a report"},
    "interventions/sgrs.py": {"no_effect_reason": "when a block ends", "report": "for a report"},
    "runtime/edit_record.py": {
        "counts": "for a report",
        "require_edits": "when generate ends",
        "require_unwritten": "likewise",
    }
    | {"mixed_rows": "for a report"},
    "runtime/logit_mixing.py": {"_prompt": "once a prompt"},
    "runtime/prompt_inputs.py": dict.fromkeys(("has_image", "without_image", "with_words"), "once a prompt"),
    "runtime/row_check.py": {"_ratios": "once a prompt, where its rows are compared with the kernel's output"},
}
READS = {"tolist", "item", "cpu", "numpy", "nonzero", "is_nonzero", "masked_select"}


@functools.cache
def model(heads: int = 4) -> LlavaForConditionalGeneration:
    """As many layers as the benchmark's, and narrow."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 8, "vocab_size": 100}
    text = LlamaConfig(**sizes, num_attention_heads=heads)
    made = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE))
    made.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    return made.eval().requires_grad_(requires_grad=False)


@functools.cache
def inputs() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 6, *[IMAGE] * 4, 7, 8, 9]])
    torch.manual_seed(1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, 28, 28)}


@functools.cache
def plain() -> Counted:
    return per_token(model(), inputs(), short=8, long=10)


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECK_AT_ONCE)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
def test_an_intervention_launches_few_kernels_and_never_waits(name: str) -> None:
    stack, bound = BOUNDS[name]
    found = per_token(model(), inputs(), stack, short=8, long=10)
    assert (found.syncs, found.reads) == (plain().syncs, plain().reads)
    assert plain().kernels < found.kernels <= bound * plain().kernels


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BOUNDS, *BRANCHED])
@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
def test_kernels_do_not_grow_with_the_heads(name: str) -> None:
    stack = BOUNDS[name][0] if name in BOUNDS else (BRANCHED[name][0],)
    few, many = (per_token(model(heads), inputs(), stack, short=8, long=10) for heads in (4, 16))
    assert many == few


@pytest.mark.parametrize("name", BRANCHED)
def test_a_second_sequence_costs_its_own_forward(name: str) -> None:
    method, bound = BRANCHED[name]
    found = per_token(model(), inputs(), (method,), short=8, long=10)
    assert (found.syncs, found.reads) == (2 * plain().syncs, plain().reads)
    assert plain().kernels < found.kernels <= bound * plain().kernels


@pytest.mark.parametrize("name", ["DLEAF", "HeadRescaling"])
@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
def test_nobody_waits_in_inference_mode_where_no_version_tells_of_edits_in_place(name: str) -> None:
    with torch.inference_mode():
        found = per_token(model(), inputs(), BOUNDS[name][0], short=8, long=10)
    assert (found.syncs, found.reads) == (plain().syncs, plain().reads)


def test_what_a_trace_adds_hardly_grows_with_the_answer() -> None:
    short, long = (trace_cost(model(), inputs(), tokens) for tokens in (6, 18))
    assert long.kernels <= 600
    assert long.syncs <= 12
    assert long.kernels - short.kernels <= 12
    assert long[1:] == short[1:]


def test_a_trace_with_gradients_launches_few_kernels_beyond_its_generation() -> None:
    assert trace_cost(model(), inputs(), 12, gradients=True).kernels <= 1_300


class _Spoiling:
    """Makes NaN in one layer of every decode step."""

    def start(self, _: Any) -> Session:
        class Spoiled(Session):
            def edit_attention(self, rows: Any) -> torch.Tensor | None:
                return rows.weights * float("nan") if rows.layer == 1 and self.decodes else None

            def begin_forward(self, forward: Any) -> None:
                self.decodes = not forward.is_prompt

        return Spoiled()

    def describe(self) -> dict[str, Any]:
        return {"name": "Spoiling", "reference": "", "parameters": {}}


@pytest.mark.parametrize("do_sample", [False, True])
def test_nan_is_named_at_the_end_of_an_answer_when_nobody_waited_for_it(*, do_sample: bool) -> None:
    with (
        pytest.raises(InterventionError, match="edit attention with Spoiling"),
        lv.intervene(model(), _Spoiling()),
    ):
        model().generate(**inputs(), max_new_tokens=4, min_new_tokens=4, do_sample=do_sample)


@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
@pytest.mark.parametrize("name", ["DLEAF", "LocoRE", "HeadRescaling", "HalluRNN"])
def test_a_report_is_the_same_whenever_edits_are_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for check in ("at the end", "now"):
        monkeypatch.setenv(CHECK_AT_ONCE, check)
        with lv.intervene(model(), *BOUNDS[name][0]) as handle:
            model().generate(**inputs(), max_new_tokens=6, min_new_tokens=6, do_sample=False)
        found.append(handle.report())
    assert found[0] == found[1]
    assert found[0][0]["forwards"] == 6


def decoding(tree: ast.Module, reading: Collection[str]) -> ast.Module:
    """A file without the functions that read a tensor at another time."""

    class Without(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
            return None if node.name in reading else self.generic_visit(node)

    return Without().visit(tree)  # type: ignore[no-any-return]


def waits(tree: ast.AST) -> Iterator[str]:
    """Calls that read a tensor on the host."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READS:
            yield f"line {node.lineno}: .{node.func.attr}()"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"bool", "float", "int"}:
            inner = node.args[0] if node.args else None
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr in REDUCTIONS:
                yield f"line {node.lineno}: {node.func.id}(....{inner.func.attr}())"


REDUCTIONS = {"all", "amax", "any", "argmax", "max", "min", "mean", "sum"}


def test_the_search_finds_what_waits() -> None:
    source = "bool(mask.any())\nx.tolist()\nint(ids.argmax())\nlen(x)\nx.any()"
    assert len(list(waits(ast.parse(source)))) == 3


def files() -> list[Path]:
    rooms = Path(lvlmscope.__file__).parent
    return sorted(file for room in ROOMS for file in (rooms / room).glob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_in_decode_steps_reads_a_tensor_on_the_host(path: Path) -> None:
    reading = READING.get(f"{path.parent.name}/{path.name}", {})
    assert not list(waits(decoding(ast.parse(path.read_text()), reading)))


@pytest.mark.parametrize("name", READING)
def test_what_is_left_out_of_the_search_does_read(name: str) -> None:
    """An entry whose function is gone, or reads nothing any more, has to go too."""
    tree = ast.parse((Path(lvlmscope.__file__).parent / name).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and list(waits(node))}
    assert found == set(READING[name])
