"""Two traces on one scale."""

import dataclasses

import numpy as np
import pytest
import torch

from lvlmscope import plot
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError, ShapeError
from tests.plot.drawn import overlapping_labels, texts_outside


def test_the_difference_is_after_minus_before_and_centred():
    figure = plot.compare(planted_trace(mass=0.5), planted_trace(mass=0.25))
    before, after, difference = (axes.images[0] for axes in figure.axes[:3])
    assert np.allclose(difference.get_array(), -0.25)
    assert difference.get_clim() == pytest.approx((-0.25, 0.25))
    assert before.get_clim() == after.get_clim() == pytest.approx((0.0, 0.5))


def test_only_shared_steps_are_compared_and_the_first_changed_token_is_named():
    before = planted_trace(mass=0.25)
    weights = before.attention.clone()
    weights[2] = 0
    after = dataclasses.replace(before, attention=weights, answer_ids=torch.tensor([0, 9, 2]))
    figure = plot.compare(before, after)
    assert np.allclose(figure.axes[2].images[0].get_array(), 0)
    told = figure.get_suptitle()
    assert "mean over 2 shared steps" in told
    assert 'first token changed: "word1" to "word1"' in told


@pytest.mark.parametrize("width", [3.6, 9.5])
@pytest.mark.parametrize("layers", [1, 8, 80])
def test_long_answers_and_deep_models_stay_in_the_figure(width, layers):
    trace = planted_trace(layers=layers, heads=layers)
    trace = dataclasses.replace(trace, answer="a very long answer " * 60)
    figure = plot.compare(trace, trace, width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []


def test_other_layers_or_prompts_are_refused():
    with pytest.raises(ShapeError, match=r"got 2 x 4 and 3 x 4 layers x heads"):
        plot.compare(planted_trace(), planted_trace(layers=3))
    with pytest.raises(ModelInputError, match="two traces of one prompt"):
        plot.compare(planted_trace(), dataclasses.replace(planted_trace(), prompt="another"))
