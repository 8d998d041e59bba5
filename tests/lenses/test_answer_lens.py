"""The logit lens: its twin, every family's last layer, planted commitments, bad input."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError, UnsupportedModelError
from lvlmscope.lenses import logit_lens
from lvlmscope.models import unembedding
from tests.reference import lens
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

GREEDY: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
OPTIONS: dict[str, Any] = GREEDY | {"hidden_states": True, "progress": False}


@pytest.fixture(scope="module")
def traced():
    case = tiny_models.llava(1)
    return case.model, from_inputs(case.model, case.inputs, **OPTIONS)


def whole_states(model: Any, inputs: dict[str, Any], answer: torch.Tensor) -> list[torch.Tensor]:
    """Streams [row, hidden] after the embedding and each layer: hooks of torch, one forward over everything."""
    kept: list[torch.Tensor] = []
    layers = model.model.language_model.layers
    hooks = [
        layers[0].register_forward_pre_hook(
            lambda _, args, kw: kept.append((args or (kw["hidden_states"],))[0]), with_kwargs=True
        )
    ]
    hooks += [
        layer.register_forward_hook(lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out))
        for layer in layers
    ]
    ids = torch.cat([inputs["input_ids"], answer[None, :-1]], 1)
    with torch.no_grad():
        model(input_ids=ids, pixel_values=inputs["pixel_values"])
    for hook in hooks:
        hook.remove()
    return [stream[0, inputs["input_ids"].shape[1] - 1 :] for stream in kept]


def test_equals_its_twin(traced) -> None:
    model, trace = traced
    case = tiny_models.llava(1)
    states = whole_states(model, case.inputs, trace.answer_ids)
    norm, matrix = model.model.language_model.norm, model.lm_head.weight.detach()
    found = logit_lens(trace, model)
    assert found["rank"].dims == ("step", "layer")
    assert found.layer.values.tolist() == [-1, 0, 1, 2]
    for step, token in enumerate(trace.answer_ids.tolist()):
        ranks = []
        for place, state in enumerate(states):
            row = lens.token_row(state[step], norm.weight.detach(), norm.variance_epsilon, matrix)
            ranks.append(lens.rank(row, token))
            assert found["log_prob"].values[step, place] == pytest.approx(row[token], abs=1e-4)
            assert found["top_id"].values[step, place] == max(range(len(row)), key=row.__getitem__)
        assert found["rank"].values[step].tolist() == ranks
        commit = lens.commitment(ranks) - 1  # the first is layer -1
        assert found["commit_layer"].values[step] == commit or math.isnan(commit)


EVERY = sorted(FAMILIES) + sorted(set(OTHERS) - {"instructblip_t5", "florence2"})


@pytest.mark.parametrize("name", EVERY)
def test_the_last_layer_is_what_the_model_said(name: str) -> None:
    case = (FAMILIES | OTHERS)[name](1)
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    found = logit_lens(trace, case.model)
    np.testing.assert_allclose(found["log_prob"].values[:, -1], trace.log_probs, atol=1e-4)
    assert found.sizes["layer"] == trace.hidden_states.shape[1]


def test_a_capped_model_is_read_with_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES["paligemma"](1)
    monkeypatch.setattr(case.model.config.get_text_config(), "final_logit_softcapping", 1.5, raising=False)
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    found = logit_lens(trace, case.model)["log_prob"].values[:, -1]
    np.testing.assert_allclose(found, trace.log_probs, atol=1e-4)
    assert found.max() < -1.0  # the cap leaves nothing near certainty


def test_half_precision_and_small_parts(traced, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trace = traced
    whole = logit_lens(trace, model)
    monkeypatch.setattr(unembedding, "_LOGITS_AT_ONCE", 3 * tiny_models.VOCABULARY)
    xr.testing.assert_allclose(logit_lens(trace, model), whole)
    half = tiny_models.llava(1, dtype=torch.bfloat16)
    found = logit_lens(from_inputs(half.model, half.inputs, **OPTIONS), half.model)
    assert found["log_prob"].dtype == found["rank"].dtype == np.float32


def test_a_token_decided_by_one_layer_commits_there(traced) -> None:
    """States planted: the token's own direction from layer 1 on, another token's before."""
    model, trace = traced
    matrix = model.lm_head.weight.detach()
    hidden = torch.empty_like(trace.hidden_states)
    for step, token in enumerate(trace.answer_ids.tolist()):
        hidden[step, :2] = matrix[(token + 1) % len(matrix)]
        hidden[step, 2:] = matrix[token]
    norm = model.model.language_model.norm
    own = torch.log_softmax(model.lm_head(norm(hidden[:, -1])), -1).detach().topk(5)
    planted = dataclasses.replace(trace, hidden_states=hidden, top_ids=own.indices, top_log_probs=own.values)
    found = logit_lens(planted, model)
    assert found["commit_layer"].values.tolist() == [1.0] * trace.num_steps
    assert (found["rank"].sel(layer=[1, 2]) == 0).all()
    assert (found["rank"].sel(layer=[-1, 0]) > 0).all()
    assert found["top_id"].sel(layer=0).values.tolist() == [(t + 1) % len(matrix) for t in trace.answer_ids.tolist()]


def test_a_token_that_is_not_the_first_choice_never_commits(traced) -> None:
    model, trace = traced
    case = tiny_models.llava(1)
    unlikely = [int(found) for found in trace.top_ids[:1, -1]]
    forced = from_inputs(model, case.inputs, answer=unlikely, hidden_states=True, progress=False)
    found = logit_lens(forced, model)
    assert np.isnan(found["commit_layer"].values).all()
    assert found["rank"].values[0, -1] > 0


def test_nan_states_give_nan(traced) -> None:
    model, trace = traced
    hidden = trace.hidden_states.clone()
    hidden[:, 1] = float("nan")
    found = logit_lens(dataclasses.replace(trace, hidden_states=hidden), model)
    assert np.isnan(found["rank"].sel(layer=0)).all()
    assert np.isnan(found["log_prob"].sel(layer=0)).all()
    assert np.isfinite(found["rank"].sel(layer=1)).all()
    assert (found["commit_layer"].fillna(2) >= 1).all()


def test_bad_input_is_refused(traced) -> None:
    model, trace = traced
    with pytest.raises(ModelInputError, match="pass hidden_states=True"):
        logit_lens(planted_trace(), model)
    with pytest.raises(ModelInputError, match=r"states of width 2; expected: those of LlavaFor.*, 48 wide"):
        logit_lens(planted_trace(turn=0.1), model)
    with pytest.raises(UnsupportedModelError, match=r"misses by .* nats.*give the model that made the trace"):
        logit_lens(trace, tiny_models.llava(1, seed=3).model)
