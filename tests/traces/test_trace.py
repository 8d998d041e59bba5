"""Trace: fields agree, files round-trip, and bad files say what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lvlmscope as lv
from lvlmscope.errors import ShapeError, TraceFileError
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models

IMAGE_KEYS = [False, True, True, True, True, False, False, False]


def make_trace(steps: int = 3, layers: int = 2, heads: int = 4, **changes: Any) -> Trace:
    """A small trace: one system key, four image keys, one question key, then the answer."""
    keys = 6 + steps - 1
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(steps, layers, heads, keys, generator=generator)
    weights *= torch.arange(keys) <= 5 + torch.arange(steps).view(-1, 1, 1, 1)
    cells = tuple(
        Cell(
            key=1 + i,
            image=0,
            row=i // 2,
            column=i % 2,
            box=(i % 2 * 4.0, i // 2 * 4.0, i % 2 * 4.0 + 4, i // 2 * 4.0 + 4),
        )
        for i in range(4)
    )
    layout = Layout(
        kinds=("system", *["image"] * 4, "question", *["answer"] * (steps - 1)),
        images=(ImageLayout(cells=cells, size=(8, 8), grid=(2, 2)),),
    )
    fields: dict[str, Any] = {
        "attention": weights / weights.sum(-1, keepdim=True),
        "layer_indices": tuple(range(layers)),
        "answer_ids": torch.arange(steps),
        "log_probs": torch.full((steps,), -0.5),
        "entropy": torch.ones(steps),
        "margin": torch.ones(steps),
        "top_ids": torch.zeros(steps, 5, dtype=torch.int64),
        "top_log_probs": torch.zeros(steps, 5),
        "layout": layout,
        "tokens": ("<s>", *["<image>"] * 4, "?", *"abcdefgh"[: steps - 1]),
        "answer_tokens": tuple("abcdefgh"[:steps]),
        "prompt": "What?",
        "answer": "abcdefgh"[:steps],
        "images": (Image.new("RGB", (8, 8), (255, 0, 0)),),
        "provenance": {"model": {"name": "toy"}},
    }
    return Trace(**(fields | changes))


def test_a_saved_trace_comes_back_equal(tmp_path: Path) -> None:
    trace = make_trace(
        gradient=torch.randn(3, 2, 4, 8), effects=({"name": "x", "heads": 3},), top_tokens=(("a", "b"),) * 3
    )
    trace.save(tmp_path / "t.safetensors")
    back = Trace.load(tmp_path / "t.safetensors")
    assert torch.equal(back.attention, trace.attention)
    assert back.gradient is not None
    assert trace.gradient is not None
    assert torch.equal(back.gradient, trace.gradient)
    assert back.hidden_states is None
    assert back.layout == trace.layout
    assert back.image is not None
    assert back.image.getpixel((0, 0)) == (255, 0, 0)
    for name in ("tokens", "answer_tokens", "top_tokens", "prompt", "answer", "provenance", "effects", "layer_indices"):
        assert getattr(back, name) == getattr(trace, name)


def test_prompt_length_counts_prompt_tokens() -> None:
    assert make_trace().prompt_length == 6


def test_prompt_length_is_the_models_whichever_keys_are_kept() -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = {"max_new_tokens": 3, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
    (whole,), (cut,) = (lv.trace_inputs(case.model, case.inputs, keep=k, **options) for k in ("all", "image_answer"))
    assert whole.prompt_length == whole.num_prompt_keys == cut.prompt_length == case.inputs["input_ids"].shape[1]
    assert cut.num_prompt_keys == int(cut.image_keys.sum()) < cut.prompt_length


@pytest.mark.parametrize("version", [1, 2])
def test_older_files_are_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "t.safetensors"
    make_trace(provenance={"images": [{"name": "a.png"}]}, effects=({"no_effect_reason": "no image"},)).save(path)
    with safe_open(path, framework="pt") as file:
        fields = json.loads(file.metadata()["lvlmscope_trace"])
    fields["format_version"] = version
    fields["provenance"]["pictures"] = fields["provenance"].pop("images")
    fields["effects"][0]["idle_reason"] = fields["effects"][0].pop("no_effect_reason")
    del fields["checksums"]
    if version == 1:
        del fields["kept_keys"], fields["top_tokens"]
    tensors = load_file(path) | {"image_keys": torch.tensor(IMAGE_KEYS)}
    save_file(tensors, path, metadata={"lvlmscope_trace": json.dumps(fields)})
    back = Trace.load(path)
    assert back.provenance == {"images": [{"name": "a.png"}]}
    assert back.effects == ({"no_effect_reason": "no image"},)
    assert back.kept_keys == "all"
    assert back.image_keys.tolist() == IMAGE_KEYS


def test_axes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match="axes that agree"):
        make_trace(log_probs=torch.zeros(2))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    make_trace().save(path)
    for length in (3, 100, path.stat().st_size - 1):
        short = tmp_path / f"{length}.safetensors"
        short.write_bytes(path.read_bytes()[:length])
        with pytest.raises(TraceFileError, match="cut short"):
            Trace.load(short)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    make_trace().save(path)
    text = json.dumps({"format_version": 99})
    save_file(load_file(path), path, metadata={"lvlmscope_trace": text})
    with pytest.raises(TraceFileError, match="upgrade lvlmscope"):
        Trace.load(path)


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(TraceFileError, match="without trace metadata"):
        Trace.load(tmp_path / "x.safetensors")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(
        TraceFileError, match="got a file of another format; expected: a file Trace\\.save wrote; check the path"
    ):
        Trace.load(tmp_path / "x.png")
    with pytest.raises(TraceFileError, match="no such file"):
        Trace.load(tmp_path / "none.safetensors")


def test_an_unwritable_place_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceFileError, match="can be written to"):
        make_trace().save(tmp_path / "missing" / "t.safetensors")

    def fail(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(TraceFileError, match="no"):
        make_trace().save(tmp_path / "t.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_summaries_and_labels() -> None:
    trace = make_trace()
    assert "3 steps x 2 layers x 4 heads x 8 keys" in repr(trace)
    assert "<table>" in trace._repr_html_()
    edited = make_trace(provenance={"interventions": [{"name": "DLEAF"}, {"name": "CLVA"}]})
    assert repr(edited).splitlines()[-1] == "  interventions DLEAF, CLVA"
    data = trace.to_xarray()
    assert data["attention"].dims == ("step", "layer", "head", "key")
    assert list(data["key_kind"].values[:2]) == ["system", "image"]
