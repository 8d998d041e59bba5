"""Signals over words: the right word, marked as asked, legible at any length."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lvlmscope import plot
from lvlmscope.diagnostics import anchor_correlation, confidence, image_attention_focus, planted_trace
from lvlmscope.errors import ModelInputError, ShapeError
from lvlmscope.evaluation.signal_registry import list_signals
from tests.support.drawn_figures import overlapping_labels, texts_outside, with_answer


def over_steps(values, **attrs):
    return xr.DataArray(np.asarray(values, dtype=np.float32), dims=("step",), attrs=attrs)


def line(axes):
    return axes.lines[0].get_ydata().tolist()


def test_a_word_has_the_mean_of_its_tokens():
    trace = with_answer(" a", " traf", "fic", " light", ".")
    figure = plot.timeline(trace, over_steps([1, 2, 4, 5, 100], long_name="planted", units="nats"))
    assert line(figure.axes[0]) == [1, 3, 5]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "traffic", "light"]
    assert figure.axes[0].get_ylabel() == "planted (nats)"


def test_layers_and_heads_are_averaged():
    focus = image_attention_focus(planted_trace(mass=0.25))
    assert line(plot.timeline(planted_trace(), focus).axes[0]) == pytest.approx([0.25] * 3)


def test_entropy_and_attention_on_the_image_are_the_usual_signals():
    figure = plot.timeline(planted_trace())
    labels = [" ".join(axes.get_ylabel().split()) for axes in figure.axes]
    assert labels == ["next-token entropy (nats)", "attention on the image (share of 1)"]


def test_a_chosen_measure_is_the_quantity_and_none_chosen_is_refused():
    trace = planted_trace()
    for measure in confidence(trace).coords["measure"].values:
        figure = plot.timeline(trace, confidence(trace).sel(measure=measure))
        assert " ".join(figure.axes[0].get_ylabel().split()) == f"{measure} (nats)".replace("_", " ")
    with pytest.raises(ShapeError, match=r"'measure' of log_probability, entropy, margin; .*\.sel\(measure='margin'\)"):
        plot.timeline(trace, confidence(trace))
    anchor = anchor_correlation(planted_trace(patch=7, layers=8)).sel(anchor="r_pos")
    assert "r_pos" in plot.timeline(planted_trace(layers=8), anchor).axes[0].get_ylabel()


def test_every_signal_at_words_is_labelled_as_what_it_is():
    trace = planted_trace(patch=7, layers=8)
    labels = {}
    for each in list_signals():
        if not each.lacking(trace, None):
            label = plot.timeline(trace, each.read(trace)).axes[0].get_ylabel()
            labels[each.name] = " ".join(label.split())
    assert labels["entropy"] == "entropy (nats)"
    assert labels["log_prob"] == "log probability (nats)"
    assert labels["r_pos"] != labels["r_neg"]
    assert len(set(labels.values())) == len(labels)


def test_a_mapping_gives_the_titles():
    figure = plot.timeline(planted_trace(), {"mine $1": over_steps([1, 2, 3])})
    assert figure.axes[0].get_ylabel() == r"mine \$1"


def test_hallucinated_and_true_words_have_marks_colours_and_a_legend():
    figure = plot.timeline(planted_trace(), over_steps([1, 2, 3]), hallucinated=[1], grounded=[(1, 6)])
    colours = {label.get_text(): label.get_color() for label in figure.axes[0].get_xticklabels()}
    assert colours["word1"] == "#D55E00"
    assert colours["word0"] == "#009E73"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hallucinated", "grounded", "other words"]


@pytest.mark.parametrize("width", [3.6, 7.0, 14.0])
@pytest.mark.parametrize("count", [1, 3, 40, 2000])
def test_labels_neither_touch_nor_leave_the_figure(count, width):
    trace = planted_trace(steps=count, layers=1, heads=1, side=2)
    figure = plot.timeline(trace, hallucinated=[count // 2], grounded=[0], width=width)
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []
    told = figure.axes[-1].get_xlabel()
    assert ("labelled" in told) == (len(figure.axes[-1].get_xticklabels()) < count)
    assert f"word{count // 2}" in [label.get_text() for label in figure.axes[-1].get_xticklabels()]


def test_a_very_long_word_and_strange_characters_stay_in_the_figure():
    trace = with_answer(" " + "Donaudampfschifffahrt" * 5, " \U0001f642x", " 猫")
    figure = plot.timeline(trace)
    assert texts_outside(figure) == []


def test_undefined_words_are_said_so():
    figure = plot.timeline(planted_trace(), over_steps([1, np.nan, np.inf]))
    assert figure.axes[0].get_title(loc="right") == "not defined for 2 of 3 words"


def test_it_draws_into_given_axes():
    figure = Figure()
    axes = figure.subplots(2, 1)
    assert plot.timeline(planted_trace(), ax=axes) is figure
    with pytest.raises(ModelInputError, match="got 1 axes for 2 signals; expected: 2 axes"):
        plot.timeline(planted_trace(), ax=axes[0])


@pytest.mark.parametrize("signal", [over_steps([1, 2]), xr.DataArray([1, 2, 3], dims=("layer",))])
def test_a_signal_of_another_length_or_without_steps_is_refused(signal):
    with pytest.raises(ShapeError, match="a labelled array with 3 steps"):
        plot.timeline(planted_trace(), signal)


def test_no_signals_are_refused():
    with pytest.raises(ModelInputError, match="got no signals"):
        plot.timeline(planted_trace(), [])


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_signals_name_is_answered_with_what_to_pass():
    with pytest.raises(ModelInputError, match=r"the text 'entropy'; .*: lv\.image_attention_focus"):
        plot.timeline(planted_trace(), "entropy")


def test_an_answer_without_words_is_refused():
    silent = dataclasses.replace(planted_trace(steps=1), answer_tokens=("",), answer="")
    with pytest.raises(ModelInputError, match="draw a timeline: got an empty answer"):
        plot.timeline(silent)


def test_a_mark_outside_the_answer_is_refused():
    with pytest.raises(ModelInputError, match="got step 3"):
        plot.timeline(planted_trace(), hallucinated=[3])


def test_words_are_marked_by_their_text():
    figures = [plot.timeline(planted_trace(), hallucinated=marks) for marks in (["word1"], [1])]
    labels = [[(text.get_text(), text.get_color()) for text in f.axes[-1].get_xticklabels()] for f in figures]
    assert labels[0] == labels[1]
    assert len({colour for _, colour in labels[0]}) == 2


def test_plotly_names_the_words_and_leaves_gaps():
    figure = plot.timeline(planted_trace(), over_steps([1, np.nan, 3]), hallucinated=[0], backend="plotly")
    line, hallucinated, other = figure.data
    assert list(line.y) == [1, None, 3]
    assert (hallucinated.name, list(hallucinated.text), list(hallucinated.y)) == (
        "hallucinated",
        ["word0 (word 0)"],
        [1],
    )
    assert list(other.text) == ["word1 (word 1)", "word2 (word 2)"]
    assert "word1" in figure.layout.xaxis.ticktext
    assert len(plot.timeline(planted_trace(), backend="plotly").layout.yaxis2.title.text) > 0
