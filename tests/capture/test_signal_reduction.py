"""`keep="signals"`: the values of a full trace, without its rows; and noise of its own for each sample."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import lvlmscope as lv
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.capture.signal_reduction import reduce_trace, reducing
from lvlmscope.capture.traced_batch import replay_prepared
from lvlmscope.errors import EvaluationError, ModelInputError, ShapeError
from lvlmscope.inputs.preparation import join, prepare
from lvlmscope.models.loaded_model import find_processor, unwrap
from lvlmscope.tiny import scene
from lvlmscope.traces.word_signals import WordSignal
from lvlmscope.traces.word_values import at_words
from lvlmscope.traces.words import words_of

PROMPT = "Describe the image."
SHORT: dict[str, Any] = {"max_new_tokens": 8, "progress": False}
EVERY = [each.name for each in lv.list_signals() if "model" not in each.needs]


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


def test_the_signals_are_those_of_the_full_trace_to_the_last_bit(model: lv.LoadedModel) -> None:
    image = scene("prior", 0).image
    whole = lv.trace(model, image, PROMPT, gradients=True, hidden_states=True, **SHORT)
    found = lv.trace(model, image, PROMPT, keep="signals", signals=EVERY, **SHORT)
    assert (found.answer, found.answer_tokens) == (whole.answer, whole.answer_tokens)
    assert found.words == words_of(whole)
    steps = [(step,) for step in range(whole.num_steps)]
    for each in lv.list_signals():
        if each.name in EVERY:
            expected = at_words(each.read(whole), steps, "first")
            got = found.signals[each.name].to_numpy().reshape(whole.num_steps, -1)
            np.testing.assert_array_equal(got, expected.astype(np.float32), err_msg=each.name)


def test_a_signal_that_reads_its_own_labels_gets_them(model: lv.LoadedModel) -> None:
    """Coordinates are left out for signals that say that they need none, and for no others."""

    def of_one_layer(trace: lv.Trace) -> xr.DataArray:
        found = lv.image_attention_focus(trace)
        return found.sel(layer=[5, 2]).isel(step=slice(None, None, -1))

    trace = lv.trace(model, scene("prior", 0).image, PROMPT, **SHORT)
    labelled = WordSignal(name="chosen", kind="attention", suspicious=None, compute=of_one_layer)
    every = WordSignal(name="all", kind="attention", suspicious=None, compute=lv.image_attention_focus, positional=True)
    found = reduce_trace(trace, [labelled, every])
    assert found.layers == trace.layer_indices
    assert list(found.signals["token"].values) == list(trace.answer_tokens)
    # The mean over heads adds in another order along other strides
    np.testing.assert_allclose(found.values["chosen"][:, [5, 2]], found.values["all"][:, [5, 2]], rtol=1e-6)
    assert np.isnan(found.values["chosen"][:, [0, 1, 3, 4, 6, 7]]).all()
    assert found.signals["all"].attrs["long_name"] == "image attention focus"


def test_signals_of_other_shapes_than_the_answer_are_refused(model: lv.LoadedModel) -> None:
    whole = lv.trace(model, scene("prior", 0).image, PROMPT, keep="signals", **SHORT)
    with pytest.raises(ShapeError, match=r"got entropy of shape \(1,\); expected: \(8, 8\) or \(8,\)"):
        replace(whole, values={"entropy": np.zeros(1, np.float32)})
    with pytest.raises(ShapeError, match="got 2 ids and 8 texts"):
        replace(whole, answer_ids=whole.answer_ids[:2])


def test_signals_turn_on_what_they_need_and_all_means_what_is_allowed(model: lv.LoadedModel) -> None:
    image = scene("prior", 0).image
    plain = lv.trace(model, image, PROMPT, keep="signals", **SHORT)
    assert set(plain.signals) == {each.name for each in lv.list_signals() if not each.needs}
    hidden = lv.trace(model, image, PROMPT, keep="signals", hidden_states=True, **SHORT)
    assert set(hidden.signals) - set(plain.signals) == {"cosine_drift", "relative_drift"}
    named = lv.trace(model, image, PROMPT, keep="signals", signals=["Saliency_To_Image", "entropy"], **SHORT)
    assert list(named.signals) == ["saliency_to_image", "entropy"]
    assert named.signals["entropy"].dims == ("step",)
    assert named.layers == tuple(range(8))


def test_rows_stay_where_the_model_is(model: lv.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is brought to the device of the answer, and to the CPU only where rows are kept."""
    placed: list[torch.device] = []
    kept = RowRecorder.kept

    def watched(self: RowRecorder, values: torch.Tensor, layer: int) -> torch.Tensor:
        placed.append(self.keeping.device)
        return kept(self, values, layer)

    monkeypatch.setattr(RowRecorder, "kept", watched)
    family, bare = model.family, unwrap(model)
    batch = prepare(scene("prior", 0).image, PROMPT, find_processor(model), family)
    options = reducing(["layer_image_entropy"], gradients=False, hidden_states=False)
    replay_prepared(model, family, batch, options, generation={"max_new_tokens": 2}).signals()
    assert set(placed) == {bare.device}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"keep": "signals", "signals": ["entropi"]}, EvaluationError, "did you mean 'entropy'"),
        ({"keep": "signals", "signals": []}, EvaluationError, "no signal at all"),
        ({"keep": "signals", "signals": ["internal_confidence"]}, EvaluationError, "runs the model once more"),
        ({"signals": ["entropy"]}, ModelInputError, 'expected: keep="signals"; pass both'),
    ],
)
def test_what_cannot_be_reduced_is_refused(
    model: lv.LoadedModel, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lv.trace(model, scene("prior", 0).image, PROMPT, **options, **SHORT)


def sampled(model: lv.LoadedModel, numbers: list[int], **options: Any) -> list[lv.Trace]:
    """Sampled answers about scenes in one batch, each with the seed of its number."""
    processor = find_processor(model)
    each = [prepare(scene("prior", n).image, PROMPT, processor, model.family) for n in numbers]
    generation = {"do_sample": True, "temperature": 1.5, "max_new_tokens": 12} | options
    batch = join(each, model.family)
    return replay_prepared(model, model.family, batch, TraceOptions(), generation=generation, seed=numbers).traces()


def test_sampling_noise_is_a_samples_own(model: lv.LoadedModel) -> None:
    together = sampled(model, [3, 1, 0])
    alone = [sampled(model, [number])[0] for number in (3, 1, 0)]
    assert [one.answer for one in together] == [one.answer for one in alone]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-4, rtol=0)
    assert [one.answer for one in sampled(model, [3, 1, 0])] == [one.answer for one in together]


def test_own_noise_samples_from_the_models_distribution(model: lv.LoadedModel) -> None:
    """Of one prompt's first token: shares of 200 draws against the probabilities, within four standard errors."""
    inputs = prepare(scene("prior", 0).image, PROMPT, find_processor(model), model.family)
    counts: dict[int, int] = {}
    generation = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": 1}
    for start in range(0, 200, 100):
        batch = join([inputs] * 100, model.family)
        seeds = list(range(start, start + 100))
        made = replay_prepared(model, model.family, batch, TraceOptions(), generation=generation, seed=seeds)
        found = made.traces()
        for each in found:
            counts[int(each.answer_ids[0])] = counts.get(int(each.answer_ids[0]), 0) + 1
    probabilities = found[0].top_log_probs[0].exp().tolist()
    for token, probability in zip(found[0].top_ids[0].tolist(), probabilities, strict=True):
        error = (probability * (1 - probability) / 200) ** 0.5
        assert abs(counts.get(token, 0) / 200 - probability) < 4 * error + 1e-3


def test_greedy_answers_have_no_noise(model: lv.LoadedModel) -> None:
    greedy = sampled(model, [0], do_sample=False, temperature=None)[0]
    plain = lv.trace(model, scene("prior", 0).image, PROMPT, max_new_tokens=12, progress=False)
    assert greedy.answer == plain.answer
    torch.testing.assert_close(greedy.log_probs, plain.log_probs, atol=0, rtol=0)


def test_a_fresh_process_knows_the_signals() -> None:
    """Nothing has imported the rooms that define them."""
    code = (
        "from lvlmscope.capture.signal_reduction import reducing\n"
        "print(*(each.name for each in reducing(None, gradients=True, hidden_states=True).signals))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert sorted(found) == sorted(EVERY)
