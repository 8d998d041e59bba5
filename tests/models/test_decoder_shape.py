"""What reads the decoder's shape (widths, heads, layers, streams) is right or refused by name, for every tiny model."""

from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import UnsupportedModelError
from lvlmscope.models.families import family_of
from tests.support import depth_cells
from tests.support.tiny_families import FamilyCase
from tests.support.traced import from_inputs
from tests.support.verify_models import CASES, OPTIONS

ENCODED = "an encoder-decoder whose prompt lies outside the decoder's sequence"
STREAMED = dict.fromkeys(("gemma3n", "glm5_next", "qwen4_exp"), r"got .* parallel residual streams")
UNTRACED = {
    "instructblip_t5": ENCODED,
    "florence2": ENCODED,
    "mistral4": "a text-only model",
    "diffllama": "calls its attention function twice",
    "unlimited_ocr": "reference_sliding_attention layers have as key columns",
    "deepseek_v4": "heavily_compressed_attention layers have as key columns",
}
CROSSING = {"mllama": "looks at the image in cross-attention layers"}
# Logits that are no output matrix times the normed stream
UNREAD = {
    "inkling2": "log-probabilities the lens misses",
    "inkling_mm_model": "log-probabilities the lens misses",
    "chameleon": "log-probabilities the lens misses",
    "nemotron_h_omni": "without an output matrix",
}
QUICK = {"llava", "mllama", "lfm2_vl", "qwen3_5", "diffllama", "nemotron_h_omni", *STREAMED}
NAMES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CASES]


def refused(name: str, *reasons: dict[str, str]) -> Any:
    """What is expected of a model: an error that names the reason, None where it is to work."""
    match = next((known[name] for known in reasons if name in known), "")
    return pytest.raises(UnsupportedModelError, match=match) if match else None


@torch.no_grad()
def stream_of(case: FamilyCase) -> torch.Tensor:
    """Transformers' own hidden states of each step's last row ``[step, layer, hidden]``."""
    made = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_hidden_states=True)
    return torch.stack([torch.stack([layer[0, -1] for layer in step]) for step in made.hidden_states])


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_are_transformers_own(name: str) -> None:
    case = CASES[name](1)
    if expected := refused(name, STREAMED, UNTRACED):
        with expected:
            from_inputs(case.model, case.inputs, hidden_states=True, progress=False, **OPTIONS)
        return
    trace = from_inputs(case.model, case.inputs, hidden_states=True, progress=False, **OPTIONS)
    theirs = stream_of(case)[: trace.num_steps]
    assert trace.hidden_states.shape == theirs.shape
    # Of the last layer transformers gives the normed stream
    torch.testing.assert_close(trace.hidden_states[:, :-1], theirs[:, :-1].float(), atol=1e-4, rtol=1e-4)
    unread = refused(name, UNREAD)
    if unread:
        with unread:
            lv.logit_lens(trace, case.model)
        return
    found = lv.logit_lens(trace, case.model)["log_prob"].values[:, -1]
    np.testing.assert_allclose(found, trace.log_probs, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_estimate_is_the_size_of_the_trace(name: str) -> None:
    case = CASES[name](1)
    sizes: dict[str, Any] = {"inputs": case.inputs, "max_new_tokens": 4, "gradients": True}
    if expected := refused(name, STREAMED):
        with expected:
            lv.estimate(case.model, **sizes, hidden_states=True)
    if name in UNTRACED:
        return
    stated = lv.estimate(case.model, **sizes, hidden_states=name not in STREAMED)
    trace = from_inputs(
        case.model, case.inputs, gradients=True, hidden_states=name not in STREAMED, progress=False, **OPTIONS
    )
    assert (stated.rows, stated.gradient) == (trace.attention.nbytes, trace.gradient.nbytes)
    assert stated.hidden == (0 if trace.hidden_states is None else trace.hidden_states.nbytes)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_the_streams_width_edits_every_step(name: str) -> None:
    case = CASES[name](1)
    width = family_of(case.model).text_config(case.model).hidden_size
    rnn = lv.HalluRNN(cell=depth_cells.lively(width))
    if expected := refused(name, STREAMED, UNTRACED, CROSSING):
        with expected, lv.intervene(case.model, rnn):
            case.model.generate(**case.inputs, **OPTIONS)
        return
    plain = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True).logits
    with lv.intervene(case.model, rnn) as handle:
        edited = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True).logits
    assert handle.report()[0]["changed"]
    assert not torch.equal(plain[0], edited[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_image_embeddings_are_as_wide_as_the_decoder(name: str) -> None:
    case = CASES[name](1)
    if name in UNTRACED:
        return
    trace = from_inputs(case.model, case.inputs, progress=False, **OPTIONS)
    options: dict[str, Any] = {"words": [0], "n_steps": 2, "inputs": case.inputs}
    if expected := refused(name, STREAMED, CROSSING):
        with expected:
            lv.integrated_gradients(trace, case.model, **options)
        return
    found = lv.integrated_gradients(trace, case.model, **options)
    assert found.sizes["key"] == int(trace.image_keys.sum())
    assert np.isfinite(found.values).all()
