"""estimate, max_memory, keep= and precision=: stated sizes are the real ones, and nothing dies in the middle."""

from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.capture import memory_limit
from lvlmscope.capture.memory_limit import Estimate, estimate_inputs, fit_into, parse_size
from lvlmscope.errors import MemoryLimitError, ModelInputError, UnsupportedOptionError
from lvlmscope.models.families import family_of
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

STEPS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


def traced(model: Any, inputs: Any, **options: Any) -> Trace:
    found = from_inputs(model, inputs, **(OPTIONS | options))
    assert isinstance(found, Trace)
    return found


@pytest.mark.parametrize("keep", ["all", "image_answer"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", ["llava", "mllama"])
def test_the_estimate_is_the_size_of_what_is_kept(name: str, keep: Any, precision: Any) -> None:
    case = FAMILIES[name]()
    options: dict[str, Any] = {"gradients": True, "hidden_states": True, "keep": keep, "precision": precision}
    stated = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, **options)
    found = traced(case.model, case.inputs, **options)
    assert found.gradient is not None
    assert found.hidden_states is not None
    assert stated.rows == found.attention.nbytes
    assert stated.gradient == found.gradient.nbytes
    assert stated.hidden == found.hidden_states.nbytes
    assert stated.keys == found.attention.shape[-1]
    assert "rows" in str(stated)


def test_one_layer_at_a_time_holds_less_for_the_backward_pass() -> None:
    case = FAMILIES["llava"]()
    case.model.requires_grad_(False)
    limit = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, gradients=True, layerwise=True).peak
    assert 2 * saved_bytes(case.model, case.inputs, max_memory=limit) < saved_bytes(case.model, case.inputs)


def saved_bytes(model: Any, inputs: Any, **options: Any) -> int:
    """Bytes that autograd holds for the backward pass at once, each storage counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        traced(model, inputs, gradients=True, **options)
    return sum(storages.values())


def test_the_working_memory_is_not_more_than_stated() -> None:
    case = FAMILIES["llava"]()
    stated = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, gradients=True)
    weights = sum(p.nbytes for p in case.model.parameters())
    assert saved_bytes(case.model, case.inputs) - weights < stated.working


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "mllama", "instructblip"])
def test_one_layer_at_a_time_gives_the_same_gradients_and_leaves_nothing(name: str) -> None:
    case = FAMILIES[name]()
    case.model.requires_grad_(False)
    sample = case.samples[0]
    whole = traced(case.model, sample, gradients=True)
    before = tiny_models.footprint(case.model)
    options: dict[str, Any] = {"max_new_tokens": STEPS, "gradients": True}
    at_once = lv.estimate(case.model, inputs=sample, **options)
    layerwise = lv.estimate(case.model, inputs=sample, layerwise=True, **options)
    assert layerwise.peak < at_once.peak
    chunked = traced(case.model, sample, gradients=True, max_memory=layerwise.peak)
    assert chunked.provenance["replay"]["layerwise"] is True
    assert whole.provenance["replay"]["layerwise"] is False
    assert chunked.gradient is not None
    torch.testing.assert_close(chunked.gradient, whole.gradient, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(chunked.attention, whole.attention, atol=1e-6, rtol=1e-5)
    assert tiny_models.footprint(case.model) == before


def test_too_little_memory_is_refused_before_anything_runs() -> None:
    case = FAMILIES["llava"]()
    before = tiny_models.footprint(case.model)
    with pytest.raises(MemoryLimitError, match=r"max_memory of 0\.0 MB; expected: keep='image_answer' .* both"):
        traced(case.model, case.inputs, gradients=True, max_memory="2KB")
    assert tiny_models.footprint(case.model) == before
    with pytest.raises(UnsupportedOptionError, match="a text such as"):
        traced(case.model, case.inputs, max_memory="lots")


@pytest.mark.parametrize("size", ["", "-1", "0", "3 parrots", ".", "1.2.3GB"])
def test_sizes_that_are_none(size: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="write the size with its unit"):
        parse_size(size)


@pytest.mark.parametrize(
    ("size", "number"),
    [
        *((1, 1), ("7", 7), ("7B", 7), (" 2 KB ", 2000), ("2kib", 2048), ("1.5MB", 1_500_000), ("2MiB", 2**21)),
        *(("3 gb", 3 * 10**9), ("0.5GiB", 2**29), (".5 kb", 500), ("1e3", None), ("2 TB", None)),
    ],
)
def test_sizes_with_every_unit(size: Any, number: int | None) -> None:
    if number is not None:
        assert parse_size(size) == number
        return
    with pytest.raises(UnsupportedOptionError, match="write the size with its unit"):
        parse_size(size)


def test_what_just_fits_is_taken_and_a_byte_less_is_not() -> None:
    case = FAMILIES["llava"]()
    given = (case.model, family_of(case.model), case.inputs, STEPS)
    options: dict[str, Any] = {"gradients": True, "hidden_states": False, "keep": "all", "precision": "float32"}
    whole, layerwise = (estimate_inputs(*given, layerwise=one, **options).peak for one in (False, True))
    assert layerwise < whole - 1
    assert fit_into(whole, *given, **options) is False
    assert fit_into(whole - 1, *given, **options) is True
    assert fit_into(layerwise, *given, **options) is True
    lean = [
        estimate_inputs(*given, layerwise=True, **(options | changed)).peak / 1e6
        for changed in (
            {"keep": "image_answer"},
            {"precision": "float16"},
            {"keep": "image_answer", "precision": "float16"},
            {"gradients": False},
        )
    ]
    names = ("keep='image_answer'", "precision='float16'", "both", "gradients=False")
    told = ", ".join(f"{name} {size:,.1f} MB" for name, size in zip(names, lean, strict=True))
    with pytest.raises(MemoryLimitError, match=f"expected: {told}; give more"):
        fit_into(layerwise - 1, *given, **options)


def test_the_peak_is_what_is_kept_and_the_larger_of_the_work_and_its_copy() -> None:
    sizes = {"prompt": 9, "steps": 3, "keys": 11, "rows": 100, "gradient": 20, "hidden": 3}
    for working, peak in ((5, 246), (123, 246), (124, 247)):
        found = Estimate(**sizes, working=working)
        assert (found.kept, found.peak) == (123, peak)


def test_recurrent_layers_and_interventions_are_not_done_one_layer_at_a_time() -> None:
    case = OTHERS["qwen3_5"]()
    options: dict[str, Any] = {"max_new_tokens": STEPS, "gradients": True}
    limit = lv.estimate(case.model, inputs=case.samples[0], layerwise=True, **options).peak
    with pytest.raises(UnsupportedOptionError, match="recurrent layers"):
        traced(case.model, case.samples[0], gradients=True, max_memory=limit)
    plain = FAMILIES["llava"]()
    limit = lv.estimate(plain.model, inputs=plain.inputs, layerwise=True, **options).peak
    with pytest.raises(UnsupportedOptionError, match="an intervention that is on"):
        traced(plain.model, plain.inputs, gradients=True, max_memory=limit, interventions=[lv.DLEAF()])


def test_kept_keys_are_those_of_image_and_answer_also_in_a_batch(tmp_path: Any) -> None:
    case = FAMILIES["qwen2_5_vl_two_images"](2)
    full = from_inputs(case.model, case.inputs, gradients=True, **OPTIONS)
    lean = from_inputs(case.model, case.inputs, gradients=True, keep="image_answer", **OPTIONS)
    assert isinstance(full, list)
    assert isinstance(lean, list)
    for whole, part in zip(full, lean, strict=True):
        keys = whole.layout.keys_of("image") | whole.layout.keys_of("answer")
        assert torch.equal(part.attention, whole.attention[..., keys])
        assert part.gradient is not None
        assert whole.gradient is not None
        assert torch.equal(part.gradient, whole.gradient[..., keys])
        torch.testing.assert_close(part.rows().image_mass, whole.rows().image_mass)
        assert part.tokens == tuple(t for t, k in zip(whole.tokens, keys, strict=True) if k)
        assert [
            c.key for image in part.layout.images for c in image.cells
        ] == part.image_keys.nonzero().flatten().tolist()
    lean[0].save(tmp_path / "lean.safetensors")
    assert lv.load_trace(str(tmp_path / "lean.safetensors")).kept_keys == "image_answer"


@pytest.mark.usefixtures("unchecked_shapes")
def test_words_that_name_no_choice() -> None:
    case = FAMILIES["llava"]()
    with pytest.raises(ModelInputError, match=r"keep='images'; .*did you mean 'image_answer'"):
        traced(case.model, case.inputs, keep="images")


@pytest.mark.parametrize("name", ["llava", "gemma3", "lfm2_vl", "qwen3_5"])
def test_gradients_through_the_whole_prompt_are_counted_where_the_replay_runs_it(name: str) -> None:
    case = (FAMILIES | OTHERS)[name]()
    ids = case.samples[0]["input_ids"]
    family = family_of(case.model)
    options: dict[str, Any] = {"gradients": True, "hidden_states": False, "keep": "all", "precision": "float32"}
    told = estimate_inputs(case.model, family, case.samples[0], 3, **options)
    made = from_inputs(case.model, case.samples[0], gradients=True, **OPTIONS)
    assert isinstance(made, Trace)
    config, layers = family.text_config(case.model), len(family.decoder_layers(case.model))
    stream = (layers + 1) * ids.shape[1] * (8 * config.hidden_size + 4 * config.intermediate_size) * 4
    assert (told.working > stream) == (made.provenance["replay"]["path"] == "full")


@pytest.mark.parametrize("batch", [1, 2])
def test_the_cache_of_a_replay_step_by_step_is_counted(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES["llava"](batch)
    options: dict[str, Any] = {"gradients": False, "hidden_states": False, "keep": "all", "precision": "float32"}

    def working() -> int:
        return estimate_inputs(case.model, family_of(case.model), case.inputs, STEPS, **options).working

    as_one_block = working()
    monkeypatch.setattr(memory_limit, "steps_reason", lambda *_, **__: "experts in bf16")
    made = case.model.generate(**case.inputs, return_dict_in_generate=True, **(OPTIONS | {"min_new_tokens": STEPS}))
    layers = made.past_key_values.layers
    sizes = [each.keys.nbytes + each.values.nbytes for each in layers]
    assert working() - as_one_block == sum(sizes) + max(sizes)  # one is copied as it grows
