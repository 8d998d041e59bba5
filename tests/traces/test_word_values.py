"""Values of a signal at words: one reduction, undefined values left out, no other choice of tokens than two."""

import numpy as np
import pytest
import xarray as xr

from lvlmscope import aggregate
from lvlmscope.diagnostics import image_attention_focus, planted_trace
from lvlmscope.errors import ModelInputError
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.word_labels import label_words
from lvlmscope.traces.word_attention import mean_over_heads
from lvlmscope.traces.word_values import at_words


def test_layers_are_kept_or_averaged_with_the_heads() -> None:
    values = np.random.default_rng(0).random((3, 2, 4))  # step, layer, head
    signal = xr.DataArray(values, dims=("step", "layer", "head"))
    words = [(0, 1), (2,)]
    kept = at_words(signal, words, "mean")
    np.testing.assert_allclose(kept, [values[:2].mean((0, 2)), values[2].mean(1)])
    np.testing.assert_allclose(at_words(signal, words, "mean", keep_layers=False), kept.mean(1))
    np.testing.assert_allclose(at_words(signal, words, "first"), [values[0].mean(1), values[2].mean(1)])
    assert at_words(signal.isel(layer=0), words, "mean").shape == (2, 1)
    assert at_words(signal, [], "mean").shape == (0, 2)


def test_undefined_tokens_and_heads_are_left_out() -> None:
    signal = xr.DataArray([[np.nan, 0.4], [0.2, np.nan], [np.nan, np.nan]], dims=("step", "head"))
    found = at_words(signal, [(0, 1), (1, 2), (2,)], "mean", keep_layers=False)
    np.testing.assert_allclose(found, [0.3, 0.2, np.nan])


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_misspelt_choice_of_tokens_is_refused_wherever_it_is_made() -> None:
    signal = xr.DataArray([0.1, 0.2], dims="step")
    with pytest.raises(ModelInputError, match="tokens='avg'; expected: 'first' or 'mean'"):
        at_words(signal, [(0, 1)], "avg")  # type: ignore[arg-type]
    trace = planted_trace()
    labels = label_words(trace, ["word0"], Vocabulary({"word0": ["word0"], "word1": ["word1"]}))
    with pytest.raises(ModelInputError, match="tokens='avg'"):
        aggregate([trace] * 2, image_attention_focus, by="word", labels=[labels] * 2, tokens="avg")  # type: ignore[arg-type]


def test_the_mean_over_heads_is_that_over_layers_of_their_defined_heads() -> None:
    amount = np.array([[[0.2], [np.nan]], [[0.4], [0.8]]])
    np.testing.assert_allclose(mean_over_heads(amount), [0.4])
    np.testing.assert_allclose(mean_over_heads(amount, layers=[1], heads=[0]), [0.4])
