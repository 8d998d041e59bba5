"""Two traces on one scale."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lvlmscope import plot
from lvlmscope.diagnostics import image_attention_focus, planted_trace, visual_attention_ratio
from lvlmscope.errors import ModelInputError, ShapeError
from tests.support.drawn_figures import overlapping_labels, texts_outside


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
    with pytest.raises(
        ModelInputError,
        match=r"two traces of one prompt; .*lv\.plot\.layers\(\[signal\(one\), signal\(other\)\], names=",
    ):
        plot.compare(planted_trace(), dataclasses.replace(planted_trace(), prompt="another"))


@pytest.mark.parametrize("signal", [image_attention_focus, visual_attention_ratio])
def test_another_signal_is_compared_and_named(signal):
    figure = plot.compare(planted_trace(mass=0.25), planted_trace(mass=0.5), signal=signal)
    assert np.allclose(figure.axes[2].images[0].get_array(), 0.25)
    name = signal(planted_trace()).attrs["long_name"]
    assert name in figure.axes[3].get_xlabel()


def test_it_draws_into_three_given_axes():
    figure = Figure()
    places = figure.subplots(1, 3)
    assert plot.compare(planted_trace(), planted_trace(), ax=places) is figure
    assert all(place.images for place in places)
    with pytest.raises(ModelInputError, match="got 2 axes; expected: 3 axes"):
        plot.compare(planted_trace(), planted_trace(), ax=list(places[:2]))


def test_plotly_shows_three_maps_on_two_scales():
    figure = plot.compare(planted_trace(mass=0.25), planted_trace(mass=0.5), backend="plotly")
    assert [(drawn.zmin, drawn.zmax) for drawn in figure.data] == [(0, 0.5), (0, 0.5), (-0.25, 0.25)]
    assert [drawn.showscale for drawn in figure.data] == [False, True, True]
    assert "mean over 3 shared steps" in figure.layout.title.text
