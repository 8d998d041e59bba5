"""Traces read in part, subtracted, and handed to TransformerLens; rows equal its bridge's."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError, ShapeError, TraceFileError
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.transformer_lens import bridge_rows
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}


def traced(name: str = "llava", **options: Any) -> Trace:
    case = FAMILIES[name]()
    found = from_inputs(case.model, case.samples[0], **OPTIONS, **options)
    assert isinstance(found, Trace)
    return found


def test_one_layer_and_one_step_are_read_without_the_rest(tmp_path: Path) -> None:
    whole, path = traced(gradients=True), tmp_path / "one.safetensors"
    whole.save(path)
    part = lv.read_attention(path, layer=2, step=1)
    assert part.dims == ("step", "layer", "head", "key")
    assert part.shape == (1, 1, *whole.attention.shape[2:])
    assert torch.equal(torch.from_numpy(part.values), whole.attention[1:2, 2:3])
    assert whole.gradient is not None
    steps = lv.read_attention(path, layer=0, gradient=True)
    assert torch.equal(torch.from_numpy(steps.values), whole.gradient[:, :1])
    assert steps.token.values.tolist() == list(whole.tokens)


def test_parts_that_a_file_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    traced().save(path)
    with pytest.raises(TraceFileError, match=r"layer 7, step None; expected: layers \[0, 1, 2\], steps 0 to 3"):
        lv.read_attention(path, layer=7)
    with pytest.raises(TraceFileError, match="trace with gradients=True"):
        lv.read_attention(path, gradient=True)
    with pytest.raises(TraceFileError, match="no such file"):
        lv.read_attention(tmp_path / "none")


def test_a_difference_ends_with_the_first_other_token() -> None:
    case = FAMILIES["llava"]()
    answers = ([20, 21, 22, 23], [20, 21, 30, 23])
    before, after = (from_inputs(case.model, case.samples[0], answer=ids) for ids in answers)
    assert isinstance(before, Trace)
    assert isinstance(after, Trace)
    found = before.diff(after)
    assert found.attrs["first_difference"] == 2
    assert found.sizes["step"] == 3
    # Rows see only what came before them: the same until the answers part
    assert abs(found.attention).max() < 1e-6
    assert found.log_probs[2] != 0
    assert before.diff(before).attrs["first_difference"] == -1
    with pytest.raises(ShapeError, match="subtract two traces"):
        before.diff(traced("gemma3"))
    assert found["attention"].attrs["bounds"] == (-1.0, 1.0)


def test_traces_of_other_images_are_not_subtracted() -> None:
    one = dataclasses.replace(planted_trace(), provenance={"images": [{"name": "", "size": [2, 2], "sha256": "a"}]})
    other = dataclasses.replace(one, provenance={"images": [{"name": "", "size": [2, 2], "sha256": "b"}]})
    with pytest.raises(ModelInputError, match="subtract two traces: got images that differ"):
        one.diff(other)


def test_a_cache_of_transformer_lens_holds_the_rows() -> None:
    whole = traced(hidden_states=True)
    cache = whole.to_transformer_lens()
    assert whole.hidden_states is not None
    for layer in whole.layer_indices:
        assert torch.equal(cache["pattern", layer][0].transpose(0, 1), whole.attention[:, layer])
        assert torch.equal(cache["resid_pre", layer][0], whole.hidden_states[:, layer])
        assert torch.equal(cache["resid_post", layer][0], whole.hidden_states[:, layer + 1])


@pytest.mark.filterwarnings("ignore")  # of TransformerLens
@pytest.mark.parametrize(
    ("name", "hub"), [("llava", "llava-hf/llava-1.5-7b-hf"), ("qwen2_5_vl", "Qwen/Qwen2.5-VL-3B-Instruct")]
)
def test_rows_equal_those_of_the_bridge(name: str, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
    from transformer_lens.model_bridge.sources.transformers import helpers

    # It asks for torchvision, which only a processor would need, and runs pip for it: another torch would come along
    monkeypatch.setattr(ArchitectureAdapter, "_check_required_libraries", lambda _: None)
    monkeypatch.setattr(helpers, "_ensure_torchvision", lambda: False)
    case = FAMILIES[name]()
    ours = from_inputs(case.model, case.samples[0], **OPTIONS)
    assert isinstance(ours, Trace)
    case.model.config.architectures = [type(case.model).__name__]
    tokenizer = AutoTokenizer.from_pretrained(Path(lv.tiny.__file__).parent / "model")
    bridge = TransformerBridge.boot_transformers(hub, hf_model=case.model, tokenizer=tokenizer, dtype=torch.float32)
    theirs = bridge_rows(bridge, case.samples[0], ours.answer_ids)
    torch.testing.assert_close(ours.attention, theirs, atol=1e-5, rtol=0)
