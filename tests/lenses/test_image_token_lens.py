"""What image tokens spell: the twin from transformers' own hidden states, a planted word, bad input."""

import dataclasses

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError, UnsupportedModelError
from lvlmscope.lenses import internal_confidence, patch_lens
from lvlmscope.tiny import scene
from tests.reference.lens import token_row


@pytest.fixture(scope="module")
def traced():
    model = lv.load("tiny")
    return model, lv.trace(model, scene("neutral", 0).image, "Describe the image.", max_new_tokens=6, progress=False)


def hidden_states(model, trace):
    """The prompt's states as transformers gives them."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": trace.prompt}]}]
    text = model.processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = model.processor(images=[trace.image], text=text, return_tensors="pt")
    with torch.no_grad():
        return model.model(**inputs, output_hidden_states=True).hidden_states


def test_equals_its_twin(traced) -> None:
    """Hidden states from transformers' own option, softmax in float64, loops."""
    model, trace = traced
    states = hidden_states(model, trace)
    matrix = model.model.get_output_embeddings().weight.double()
    norm = model.model.model.language_model.norm
    found = internal_confidence(trace, model)
    assert found.dims == ("layer", "step")
    assert found["layer"].values.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6, 7]
    image = [n for n, is_image in enumerate(trace.image_keys.tolist()) if is_image]
    for layer in (-1, 3, 7):
        state = states[layer + 1][0]
        normed = state if layer == 7 else norm(state)  # transformers gives the last one after the norm
        logits = normed.detach().double() @ matrix.detach().T
        for step, token in enumerate(trace.answer_ids.tolist()):
            best = max(float(logits[key][token] - logits[key].logsumexp(0)) for key in image)
            assert found.sel(layer=layer).values[step] == pytest.approx(best, abs=1e-3)
    assert (found <= 0).all()


def test_what_patches_spell_equals_its_twin(traced) -> None:
    """Every image token's most probable token in float64, from transformers' own hidden states."""
    model, trace = traced
    states = hidden_states(model, trace)
    norm = model.model.model.language_model.norm
    weight, matrix = norm.weight.detach(), model.model.get_output_embeddings().weight.detach()
    found = patch_lens(trace, model)
    image = trace.image_keys.nonzero().flatten().tolist()
    assert found["key"].values.tolist() == image
    assert found["layer"].values.tolist() == [-1, 0, 1, 2, 3, 4, 5, 6, 7]
    for layer in (-1, 3, 7):
        for key in image[::16]:
            state = states[layer + 1][0, key]
            row = token_row(state, weight, norm.variance_epsilon, matrix) if layer < 7 else plain_row(state, matrix)
            one = found.sel(layer=layer, key=key)
            assert int(one["top_id"]) == max(range(len(row)), key=lambda token: row[token])
            assert float(one["log_prob"]) == pytest.approx(max(row), abs=1e-3)


def plain_row(state: torch.Tensor, matrix: torch.Tensor) -> list[float]:
    """transformers gives the last state after the norm."""
    logits = state.double() @ matrix.double().T
    return (logits - logits.logsumexp(0)).tolist()


def test_a_present_object_is_spelled_and_an_absent_one_is_not(traced) -> None:
    model, _ = traced
    shown = scene("neutral", 0)
    absent = next(word for word in ("zebra", "pizza") if word not in shown.present)
    present = shown.objects[0]
    trace = lv.trace(model, shown.image, "Describe the image.", answer=f" {present} {absent}", progress=False)
    first = internal_confidence(trace, model).sel(layer=-1)
    assert float(first[0]) > -1.0 > float(first[-1])


def test_the_hooks_are_gone_and_the_output_unchanged(traced) -> None:
    model, trace = traced
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())
    first = internal_confidence(trace, model)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules()) == before
    np.testing.assert_array_equal(first, internal_confidence(trace, model.model, processor=model.processor))


def test_a_trace_of_image_and_answer_keys_gives_the_same(traced) -> None:
    model, trace = traced
    options = {"max_new_tokens": 6, "progress": False, "keep": "image_answer"}
    cut = lv.trace(model, trace.image, trace.prompt, **options)
    assert cut.kept_keys == "image_answer"
    np.testing.assert_allclose(internal_confidence(cut, model), internal_confidence(trace, model), atol=1e-5)


def test_bad_input_is_refused(traced, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trace = traced
    with pytest.raises(ModelInputError, match="a trace without its images"):
        internal_confidence(planted_trace(), model)
    with pytest.raises(ModelInputError, match="give the model that made the trace"):
        internal_confidence(dataclasses.replace(trace, prompt="What is in this picture?"), model)
    head = model.model.get_output_embeddings()
    scaled = torch.nn.Linear(head.in_features, head.out_features, bias=False)
    scaled.weight = torch.nn.Parameter(head.weight.detach() * 2)
    monkeypatch.setattr(model.model, "get_output_embeddings", lambda: scaled)
    with pytest.raises(UnsupportedModelError, match="whose log-probabilities the lens misses by"):
        internal_confidence(trace, model)


def test_a_decoder_without_a_final_norm_is_refused(traced) -> None:
    _, trace = traced
    model = lv.load("tiny")
    language = model.model.model.language_model
    language.last = language.norm
    del language.norm
    with pytest.raises(UnsupportedModelError, match="without a final norm beside its layers"):
        internal_confidence(trace, model)
