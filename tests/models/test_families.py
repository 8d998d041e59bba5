"""Every named family: rows and tokens equal eager generation, alone and in a left-padded batch; bf16; gradients."""

from typing import Any

import pytest
import torch

from lvlmscope.errors import UnsupportedModelError
from lvlmscope.interventions import DLEAF
from lvlmscope.models.families import family_of
from lvlmscope.runtime.attachment import intervene
from lvlmscope.traces.trace import Trace
from tests.reference.attention_gradients import rows_and_gradients
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

STEPS = 5
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
CROSSING = {"mllama": (1, 3)}


def eager(model: Any, inputs: dict[str, Any]) -> Any:
    before = model.get_decoder().config._attn_implementation
    model.set_attn_implementation("eager")
    output = model.generate(**inputs, **OPTIONS, output_attentions=True, return_dict_in_generate=True)
    model.set_attn_implementation(before)
    return output


def eager_row(weights: torch.Tensor, traced: Trace, step: int, *, crosses: bool) -> torch.Tensor:
    """One step's row ``[head, key]`` as eager attention gave it, on the trace's key axis."""
    row = weights[0, :, -1]
    full = torch.zeros(row.shape[0], len(traced.tokens))
    if crosses:
        full[:, : row.shape[1]] = row
        return full
    end = traced.num_prompt_keys + step
    width = min(row.shape[1], end)  # a windowed layer gives fewer columns, the last ones
    full[:, end - width : end] = row[:, :width]
    return full


def assert_equals_eager(name: str, traced: Trace, model: Any, inputs: dict[str, Any]) -> None:
    output = eager(model, inputs)
    assert traced.answer_ids.tolist() == output.sequences[0, -STEPS:].tolist()
    for step, layers in enumerate(output.attentions):
        for place, layer in enumerate(traced.layer_indices):
            crosses = layer in CROSSING.get(name, ())
            # Eager attention lists only the layers that have some
            weights = layers[place if len(layers) == traced.num_layers else layer]
            expected = eager_row(weights, traced, step, crosses=crosses)
            torch.testing.assert_close(traced.attention[step, place], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_and_tokens_equal_eager_generation(name: str) -> None:
    case = FAMILIES[name]()
    traced = from_inputs(case.model, case.samples[0], **OPTIONS)
    assert isinstance(traced, Trace)
    assert_equals_eager(name, traced, case.model, case.samples[0])
    assert traced.image_keys.any()
    assert traced.provenance["replay"]["path"] == "block"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_left_padded_batch_gives_each_sample_the_rows_it_gives_alone(name: str) -> None:
    case = FAMILIES[name](2)
    batch = from_inputs(case.model, case.inputs, gradients=True, hidden_states=True, **OPTIONS)
    assert isinstance(batch, list)
    for traced, sample in zip(batch, case.samples, strict=True):
        alone = from_inputs(case.model, sample, gradients=True, hidden_states=True, **OPTIONS)
        assert isinstance(alone, Trace)
        assert traced.answer_ids.tolist() == alone.answer_ids.tolist()
        assert torch.equal(traced.image_keys, alone.image_keys)
        for field in ("attention", "gradient", "hidden_states", "log_probs"):
            torch.testing.assert_close(getattr(traced, field), getattr(alone, field), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_half_precision_stays_within_a_tenth_of_the_mass(name: str) -> None:
    """bf16 rounds each layer's stream to 3 digits; the rows of these steep random models move by some per cent."""
    full, half = FAMILIES[name](), FAMILIES[name](dtype=torch.bfloat16)
    exact = from_inputs(full.model, full.samples[0], **OPTIONS)
    assert isinstance(exact, Trace)
    rounded = from_inputs(half.model, half.samples[0], answer=exact.answer_ids.tolist())
    assert isinstance(rounded, Trace)
    moved = (rounded.attention - exact.attention).abs().sum(-1) / 2
    assert moved.mean() < 0.1
    torch.testing.assert_close(rounded.attention.sum(-1), torch.ones_like(moved))


def test_keys_of_cross_attention_come_first_and_belong_to_their_layers() -> None:
    case = FAMILIES["mllama"](2)
    batch = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(batch, list)
    for traced, keys in zip(batch, (4 * 17, 2 * 17), strict=True):
        assert traced.image_keys.tolist() == [True] * keys + [False] * (len(traced.tokens) - keys)
        assert (traced.attention[:, [0, 2], :, :keys] == 0).all()
        assert (traced.attention[:, [1, 3], :, keys:] == 0).all()
        torch.testing.assert_close(traced.attention.sum(-1), torch.ones(STEPS, 4, 6))


def test_interventions_on_cross_attention_are_refused() -> None:
    case = FAMILIES["mllama"]()
    before = tiny_models.footprint(case.model)
    with pytest.raises(UnsupportedModelError, match="cross-attention layers"), intervene(case.model, DLEAF()):
        pass
    assert tiny_models.footprint(case.model) == before


def test_a_prompt_that_ends_in_the_image_is_replayed_from_the_start() -> None:
    case = FAMILIES["llava"]()
    ids = case.inputs["input_ids"]
    ids = ids[:, : int((ids[0] == tiny_models.IMAGE).nonzero()[-1]) + 1]
    inputs = case.inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    traced = from_inputs(case.model, inputs, gradients=True, **OPTIONS)
    assert isinstance(traced, Trace)
    assert traced.provenance["replay"]["path"] == "full"
    assert_equals_eager("llava", traced, case.model, inputs)


ENCODED = ("florence2", "instructblip_t5")
STATEFUL = ("lfm2_vl", "qwen3_5")


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ENCODED])
def test_the_generic_path_serves_families_without_a_file(name: str) -> None:
    case = OTHERS[name](2)
    batch = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(batch, list)
    for traced, sample in zip(batch, case.samples, strict=True):
        assert_equals_eager(name, traced, case.model, sample)
        assert traced.image_keys.any()
        assert traced.provenance["replay"]["path"] == ("full" if name in STATEFUL else "block")


@pytest.mark.parametrize("name", ENCODED)
def test_encoder_decoders_are_refused_by_name(name: str) -> None:
    case = OTHERS[name]()
    with pytest.raises(UnsupportedModelError, match=rf"{type(case.model).__name__}, an encoder-decoder"):
        from_inputs(case.model, case.samples[0], **OPTIONS)


@pytest.mark.parametrize("name", STATEFUL)
def test_layers_without_attention_are_absent_and_gradients_do_not_leak_between_tokens(name: str) -> None:
    case = OTHERS[name]()
    case.model.requires_grad_(False)
    traced = from_inputs(case.model, case.samples[0], gradients=True, **OPTIONS)
    assert isinstance(traced, Trace)
    assert traced.gradient is not None
    assert traced.layer_indices == (1, 3)
    _, gradients = rows_and_gradients(case.model, case.samples[0], traced.answer_ids)
    for step in range(STEPS):
        width = traced.num_prompt_keys + step
        for place in range(2):
            found, expected = traced.gradient[step, place, :, :width], gradients[step][place]
            assert (found - expected).norm() / expected.norm() < 1e-4


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision", "pixtral", "qwen2_5_vl"])
def test_a_familys_own_image_token_divides_a_batch(name: str) -> None:
    case = FAMILIES[name](2)
    base = family_of(case.model)
    expected = [base.sample_inputs(case.model, case.inputs, sample) for sample in (0, 1)]
    own = type("Own", (type(base),), {"image_token_id": lambda *_: tiny_models.IMAGE})()
    case.model.config.image_token_id = tiny_models.IMAGE + 1  # a name that this config does not use
    for sample, inputs in enumerate(expected):
        found = own.sample_inputs(case.model, case.inputs, sample)
        assert found.keys() == inputs.keys()
        assert all(torch.equal(torch.as_tensor(found[key]), torch.as_tensor(inputs[key])) for key in inputs)
