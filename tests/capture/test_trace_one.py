"""trace: rows equal eager's, tokens equal, batches equal single samples, gradients equal separate backwards."""

from typing import Any
from warnings import catch_warnings

import pytest
import torch
from PIL import Image
from transformers import SuppressTokensLogitsProcessor

from lvlmscope.capture.trace_one import trace, trace_inputs
from lvlmscope.errors import LvlmscopeError
from lvlmscope.interventions import SGRS
from lvlmscope.models.families import family_of
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.traces.trace import Trace
from tests.reference.attention_gradients import rows_and_gradients
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


def one(model: Any, inputs: Any, **options: Any) -> Trace:
    found = from_inputs(model, inputs, **(OPTIONS | options))
    assert isinstance(found, Trace)
    return found


def eager_rows(model: Any, inputs: dict[str, Any]) -> tuple[list[int], torch.Tensor]:
    """Answer ids and rows ``[step, layer, head, key]`` of stock eager generation."""
    model.set_attn_implementation("eager")
    output = model.generate(**inputs, **OPTIONS, output_attentions=True, return_dict_in_generate=True)
    model.set_attn_implementation("sdpa")
    keys = output.attentions[-1][0].shape[-1]
    rows = [
        torch.stack([torch.nn.functional.pad(a[0, :, -1], (0, keys - a.shape[-1])) for a in layers])
        for layers in output.attentions
    ]
    return output.sequences[0, inputs["input_ids"].shape[1] :].tolist(), torch.stack(rows)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_rows_and_tokens_equal_eager_generation(kernel: str) -> None:
    case = tiny_models.llava()
    case.model.set_attn_implementation(kernel)
    traced = one(case.model, case.inputs)
    ids, rows = eager_rows(case.model, case.inputs)
    assert traced.answer_ids.tolist() == ids
    torch.testing.assert_close(traced.attention, rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(traced.attention.sum(-1), torch.ones(STEPS, 3, 6))
    assert torch.equal(traced.image_keys[: traced.prompt_length], case.image_mask[0])
    assert traced.provenance["model"]["kernel"] == kernel


def test_a_left_padded_batch_gives_each_sample_its_own_rows() -> None:
    case = tiny_models.llava(2)
    batch = from_inputs(case.model, case.inputs, gradients=True, hidden_states=True, **OPTIONS)
    assert isinstance(batch, list)
    for number, traced in enumerate(batch):
        alone = one(case.model, case.sample(number), gradients=True, hidden_states=True)
        assert traced.answer_ids.tolist() == alone.answer_ids.tolist()
        for name in ("attention", "gradient", "hidden_states", "log_probs", "entropy"):
            torch.testing.assert_close(getattr(traced, name), getattr(alone, name), atol=1e-5, rtol=1e-4)
        assert traced.layout == alone.layout


def test_a_sample_that_ends_early_keeps_its_own_length() -> None:
    case = tiny_models.llava(2)
    free = from_inputs(case.model, case.inputs, **OPTIONS)
    assert isinstance(free, list)
    end = int(free[0].answer_ids[2])
    batch = from_inputs(case.model, case.inputs, eos_token_id=end, **OPTIONS)
    assert isinstance(batch, list)
    assert batch[0].answer_ids.tolist() == free[0].answer_ids[:3].tolist()
    torch.testing.assert_close(batch[0].attention, free[0].attention[:3, ..., : batch[0].prompt_length + 2])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_gradients_equal_one_backward_per_token(family: str, dtype: torch.dtype, tolerance: float) -> None:
    case = FAMILIES[family](dtype=dtype)
    case.model.requires_grad_(False)
    traced = one(case.model, case.inputs, gradients=True)
    rows, gradients = rows_and_gradients(case.model, case.inputs, traced.answer_ids)
    assert traced.gradient is not None
    for step in range(STEPS):
        width = traced.prompt_length + step
        for layer in range(traced.num_layers):
            expected = gradients[step][layer]
            found = traced.gradient[step, layer, :, :width].to(dtype)
            assert (found - expected).norm() / expected.norm() < tolerance
            torch.testing.assert_close(traced.attention[step, layer, :, :width].to(dtype), rows[step][layer])
    assert (traced.gradient[0, :, :, traced.prompt_length :] == 0).all()


def test_gradients_work_under_no_grad_and_say_what_to_do_under_inference_mode() -> None:
    case = tiny_models.llava()
    with torch.no_grad():
        assert one(case.model, case.inputs, gradients=True).gradient is not None
    with torch.inference_mode(), pytest.raises(LvlmscopeError, match=r"use torch\.no_grad"):
        one(case.model, case.inputs, gradients=True)
    assert all(p.grad is None for p in case.model.parameters())


def test_half_precision_stays_within_its_tolerance() -> None:
    case = tiny_models.llava(dtype=torch.bfloat16)
    traced = one(case.model, case.inputs, gradients=True)
    assert traced.attention.dtype == torch.float32
    assert traced.provenance["replay"]["difference"] <= traced.provenance["replay"]["tolerance"]


def test_hidden_states_run_from_embedding_to_before_the_final_norm() -> None:
    case = tiny_models.llava()
    traced = one(case.model, case.inputs, hidden_states=True)
    ids = torch.cat([case.inputs["input_ids"], traced.answer_ids[None, :-1]], 1)
    output = case.model(input_ids=ids, pixel_values=case.inputs["pixel_values"], output_hidden_states=True)
    assert traced.hidden_states is not None
    rows = traced.hidden_states
    for layer in range(3):
        expected = output.hidden_states[layer][0, -STEPS:]
        torch.testing.assert_close(rows[:, layer], expected, atol=1e-4, rtol=1e-4)
    normed = case.model.get_decoder().norm(rows[:, 3])
    torch.testing.assert_close(normed, output.hidden_states[3][0, -STEPS:], atol=1e-4, rtol=1e-4)


def test_a_given_answer_is_traced_like_a_generated_one() -> None:
    case = tiny_models.llava()
    written = one(case.model, case.inputs, gradients=True)
    forced = from_inputs(case.model, case.inputs, answer=written.answer_ids.tolist(), gradients=True)
    assert isinstance(forced, Trace)
    for name in ("attention", "gradient", "log_probs"):
        torch.testing.assert_close(getattr(forced, name), getattr(written, name), atol=1e-5, rtol=1e-4)


def test_sampling_is_repeated_by_its_seed_and_leaves_the_generator_alone() -> None:
    case = tiny_models.llava()
    state = torch.random.get_rng_state()
    first = one(case.model, case.inputs, do_sample=True, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    second = one(case.model, case.inputs, do_sample=True, seed=3)
    other = one(case.model, case.inputs, do_sample=True, seed=4)
    assert first.answer_ids.tolist() == second.answer_ids.tolist() != other.answer_ids.tolist()


def test_a_seed_from_which_nothing_is_drawn_is_warned_of() -> None:
    case = tiny_models.llava()
    with pytest.warns(UserWarning, match=r"nothing was drawn at random, so that seed=3 had no effect: sample with"):
        greedy = one(case.model, case.inputs, seed=3)
    assert greedy.answer_ids.tolist() == one(case.model, case.inputs).answer_ids.tolist()
    with catch_warnings(record=True) as told:  # whether a proposal is rejected does not matter here
        one(case.model, case.inputs, seed=3, interventions=[SGRS(proposal="sample", layers=None)])
    assert not [each for each in told if "nothing was drawn" in str(each.message)]


def test_prepared_inputs_of_a_loaded_model_are_read_with_its_processor_or_the_given_one() -> None:
    case, processor = FAMILIES["llava"](1), tiny_models.processor()
    made = LoadedModel(model=case.model, processor=processor, name="tiny", family=family_of(case.model))
    sample = case.samples[0]
    (bare,) = trace_inputs(case.model, sample, **OPTIONS)
    for model, given in ((made, None), (made, processor), (case.model, processor)):
        (found,) = trace_inputs(model, sample, processor=given, **OPTIONS)
        assert found.answer == processor.tokenizer.decode(found.answer_ids) != bare.answer


def test_an_image_and_a_prompt_give_texts_and_boxes() -> None:
    case = tiny_models.llava()
    image = Image.new("RGB", (64, 40), (10, 200, 30))
    traced = trace(case.model, image, "w7 w8", processor=tiny_models.processor(), **OPTIONS)
    assert "".join(traced.answer_tokens) == traced.answer
    assert [texts[0] for texts in traced.top_tokens[1:-1]] == list(traced.answer_tokens[1:-1])  # greedy
    assert traced.tokens[: traced.prompt_length] == ("<image>",) * 16 + ("w7", "w8")
    assert traced.image is not None
    assert traced.image.size == (64, 40)
    first, last = traced.layout.images[0].cells[0].box, traced.layout.images[0].cells[-1].box
    # 64 x 40 becomes 51 x 32, of which the columns from 9 to 41 are kept
    assert first is not None
    assert last is not None
    assert first[:2] == pytest.approx((9 * 64 / 51, 0.0))
    assert last[2:] == pytest.approx((41 * 64 / 51, 40.0))


def test_probabilities_are_the_models_own() -> None:
    case = tiny_models.llava()
    traced = one(case.model, case.inputs)
    logits = case.model(**case.inputs).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(traced.log_probs[0], logits[traced.answer_ids[0]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(traced.entropy[0], -(logits.exp() * logits).sum(), atol=1e-5, rtol=1e-4)
    assert traced.top_log_probs[0, 0] - traced.top_log_probs[0, 1] == traced.margin[0]


def test_nothing_is_left_behind_after_an_error() -> None:
    case = tiny_models.llava()
    case.model.generate(**case.inputs, **OPTIONS)  # transformers sets hooks of its own on the first call
    before = tiny_models.footprint(case.model)
    with pytest.raises(LvlmscopeError, match="num_return_sequences"):
        one(case.model, case.inputs, num_return_sequences=2)
    with torch.no_grad():
        case.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(LvlmscopeError, match="logits that are NaN at step 0"):
        one(case.model, case.inputs, gradients=True)
    assert tiny_models.footprint(case.model) == before


def test_objects_among_the_options_are_told_by_their_class_and_the_trace_can_be_saved(tmp_path):
    case = tiny_models.llava()
    banned = SuppressTokensLogitsProcessor([50])
    found = from_inputs(case.model, case.inputs, logits_processor=[banned], **OPTIONS)
    found.save(tmp_path / "t.safetensors")
    told = Trace.load(tmp_path / "t.safetensors").provenance["generation"]
    assert told["logits_processor"] == ["SuppressTokensLogitsProcessor"]
    assert told["suppress_tokens"] == OPTIONS["suppress_tokens"]
