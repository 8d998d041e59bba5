"""Trace files that were altered: every one gives a `TraceFileError`, and none takes more memory than it says."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import lvlmscope as lv
from lvlmscope.errors import TraceFileError
from lvlmscope.traces.trace import Trace
from tests.support.random_traces import random_trace
from tests.traces.test_trace import make_trace

Fields = dict[str, Any]


def saved(folder: Path) -> Path:
    path = folder / "trace.safetensors"
    trace = make_trace(gradient=torch.randn(3, 2, 4, 8), top_tokens=(("a", "b"),) * 3)
    trace.save(path)
    return path


def parts(path: Path) -> tuple[dict[str, torch.Tensor], Fields]:
    with safe_open(path, framework="pt") as file:
        return load_file(path), json.loads(file.metadata()["lvlmscope_trace"])


def rewritten(path: Path, tensors: dict[str, torch.Tensor], fields: Any) -> Path:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata={"lvlmscope_trace": text})
    return path


def without(fields: Fields, name: str) -> Fields:
    return {each: value for each, value in fields.items() if each != name}


def without_checksums(fields: Fields) -> Fields:
    """The fields of a file of format 2, which had none."""
    return without(fields, "checksums") | {"format_version": 2}


def test_a_loaded_trace_does_not_depend_on_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    trace = Trace.load(path)
    before = trace.attention.clone()
    with path.open("r+b") as file:
        file.seek(-2000, 2)
        file.write(b"\xff" * 2000)
        file.flush()
        assert torch.equal(trace.attention, before)
        file.truncate(0)
    assert torch.equal(trace.attention, before)
    assert trace.gradient is not None


def test_every_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    content = saved(tmp_path).read_bytes()
    (header,) = struct.unpack("<Q", content[:8])
    for place in range(8 + header, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(TraceFileError, match=r"load the trace .*got .*(that differs|image)"):
            Trace.load(path)


def test_a_partial_read_checks_its_part_and_no_other(tmp_path: Path) -> None:
    path = saved(tmp_path)
    tensors, fields = parts(path)
    tensors["attention"][2, 1, 0, 0] += 0.5
    rewritten(path, tensors, fields)
    assert lv.read_attention(path, layer=0).shape == (3, 1, 4, 8)
    assert lv.read_attention(path, step=1).shape == (1, 2, 4, 8)
    assert lv.read_attention(path, step=2, layer=1, gradient=True).shape == (1, 1, 4, 8)
    for part in ({"layer": 1}, {"step": 2}, {"step": 2, "layer": 1}, {}):
        with pytest.raises(TraceFileError, match=r"read rows of .*got attention that differs"):
            lv.read_attention(path, **part)


def last_key_exceeded(fields: Fields) -> Fields:
    return fields["layout"]["images"][0] | {"cells": [[8, 0, "patch", 0, 0, 0, 0, None]]}


ALTERED: list[tuple[Callable[[Fields], Any], str]] = [
    (lambda _: "[" * 100_000, "not JSON"),
    (lambda _: "{", "not JSON"),
    (lambda _: [1], "format version None"),
    (lambda f: f | {"format_version": True}, "format version True"),
    (lambda f: f | {"format_version": "3"}, "format version '3'"),
    (lambda f: f | {"format_version": 0}, "format version 0"),
    (lambda f: f | {"surprise": 1}, "field surprise that is wrong"),
    (lambda f: {k: v for k, v in f.items() if k != "tokens"}, "field tokens that is wrong"),
    (lambda f: without(f, "checksums"), "format version 3 without checksums.*file is damaged"),
    (lambda f: without(f, "kept_keys"), "format version 3 without kept_keys"),
    (lambda f: without(f, "top_tokens"), "format version 3 without top_tokens"),
    (lambda f: f | {"checksums": without(f["checksums"], "entropy")}, "got entropy without checksums"),
    (lambda f: f | {"checksums": without(f["checksums"], "image.0")}, "got image.0 without checksums"),
    (lambda f: f | {"checksums": f["checksums"] | {"more": [1]}}, "got more without the tensor of its checksums"),
    (lambda f: f | {"checksums": f["checksums"] | {"attention": [1]}}, "attention that differs|1 checksums"),
    (lambda f: f | {"tokens": "abcdefgh"}, "field tokens that is wrong"),
    (lambda f: f | {"tokens": [*f["tokens"][1:], 3]}, "field tokens.7 that is wrong"),
    (lambda f: f | {"tokens": f["tokens"][1:]}, "7 texts of keys; expected: 8"),
    (lambda f: f | {"answer_tokens": []}, "0 answer tokens; expected: 3"),
    (lambda f: f | {"top_tokens": [["a"]]}, "1 texts of alternatives; expected: 3"),
    (lambda f: f | {"layer_indices": [0]}, "1 layers; expected: 2"),
    (lambda f: f | {"layer_indices": [0, -1]}, "field layer_indices.1 that is wrong"),
    (lambda f: f | {"layer_indices": [0, "1"]}, "field layer_indices.1 that is wrong"),
    (lambda f: f | {"kept_keys": "some"}, "field kept_keys that is wrong"),
    (lambda f: f | {"provenance": []}, "field provenance that is wrong"),
    (lambda f: f | {"effects": [3]}, "field effects.0 that is wrong"),
    (lambda f: f | {"image_count": 2}, "got no image.1"),
    (lambda f: f | {"image_count": 0}, "an unknown tensor 'image.0'"),
    (lambda f: f | {"image_count": 10**11}, "got no image"),
    (lambda f: f | {"layout": {"kinds": [["image", 10**11]], "images": []}}, "100000000000 kinds of keys; expected: 8"),
    (lambda f: f | {"layout": {"kinds": [["picture", 8]], "images": []}}, r"field layout.kinds.0.0 that is wrong"),
    (lambda f: f | {"layout": f["layout"] | {"images": [{"cells": []}]}}, "field layout.images.0.size that is wrong"),
    (
        lambda f: (
            f
            | {
                "layout": f["layout"]
                | {"images": [f["layout"]["images"][0] | {"cells": [[8, 0, "patch", 0, 0, 0, 0, None]]}]}
            }
        ),
        "image tokens after the last key",
    ),
]


@pytest.mark.parametrize(("change", "text"), ALTERED)
def test_altered_fields_are_named(tmp_path: Path, change: Callable[[Fields], Any], text: str) -> None:
    path = saved(tmp_path)
    tensors, fields = parts(path)
    rewritten(path, tensors, change(fields))
    with pytest.raises(TraceFileError, match=text):
        Trace.load(path)
    with pytest.raises(TraceFileError, match=text):
        lv.read_attention(path, step=1, layer=1)


def test_a_gradient_that_is_gone_is_missed_by_its_checksums(tmp_path: Path) -> None:
    tensors, fields = parts(saved(tmp_path))
    del tensors["gradient"]
    path = rewritten(tmp_path / "trace.safetensors", tensors, fields)
    for read in (Trace.load, lv.read_attention):
        with pytest.raises(TraceFileError, match="gradient without the tensor of its checksums"):
            read(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda _: {"entropy": None}, "got no entropy"),
        (lambda _: {"extra": torch.zeros(1)}, "an unknown tensor 'extra'"),
        (lambda t: {"entropy": t["entropy"].long()}, "entropy of type I64"),
        (lambda t: {"answer_ids": t["answer_ids"].float()}, "answer_ids of type F32 .*expected: int64"),
        (lambda t: {"entropy": t["entropy"][:, None].clone()}, "entropy of type F32 and shape"),
        (lambda _: {"entropy": torch.zeros(4)}, "tensors whose axes agree"),
        (lambda _: {"top_ids": torch.zeros(3, 4, dtype=torch.int64)}, "tensors whose axes agree"),
        (lambda _: {"gradient": torch.zeros(3, 2, 4, 7)}, "tensors whose axes agree"),
        (lambda _: {"attention": torch.zeros(3, 8)}, "attention of 2 axes"),
        (lambda _: {"image_keys": torch.zeros(8, dtype=torch.bool)}, "image keys other than the layout's"),
        (lambda _: {"image.0": torch.arange(99).byte()}, "an image of it that cannot be read"),
        (lambda _: {"image.0": torch.tensor(list(b"%!PS-Adobe-3.0 EPSF-3.0\n"), dtype=torch.uint8)}, "cannot be read"),
    ],
)
def test_altered_tensors_are_named(tmp_path: Path, change: Callable[[Fields], Fields], text: str) -> None:
    path = saved(tmp_path)
    tensors, fields = parts(path)
    changed = {name: tensor for name, tensor in (tensors | change(tensors)).items() if tensor is not None}
    rewritten(path, changed, without_checksums(fields))
    with pytest.raises(TraceFileError, match=text):
        Trace.load(path)


def test_images_are_counted_before_any_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.safetensors"
    make_trace(images=(Image.new("RGB", (8, 8)), Image.new("RGB", (1000, 900)))).save(path)
    assert Trace.load(path).images[1].size == (1000, 900)
    monkeypatch.setattr("lvlmscope.traces.trace_file._MAX_PIXELS", 900_000)
    monkeypatch.setattr("lvlmscope.traces.trace_file.read_images", lambda *_: pytest.fail("decoded"))
    with pytest.raises(TraceFileError, match="images of 900,064 pixels together; expected: at most 900,000"):
        Trace.load(path)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90_000_000) + b"{")
        file.truncate(90_000_100)  # without taking room on the disk
    with pytest.raises(TraceFileError, match="a header of 90,000,000 bytes; expected: at most 33,554,432"):
        Trace.load(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_of_bytes_gives_the_same_trace_or_one_error(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "trace.safetensors"
    trace = random_trace(0)
    trace.save(path)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=20))
    content[start : start + len(patch)] = patch
    path.write_bytes(content)
    try:
        back = Trace.load(path)
    except TraceFileError:
        return
    assert torch.equal(back.attention, trace.attention)
    assert back.gradient is not None
    assert torch.equal(back.gradient, trace.gradient)
