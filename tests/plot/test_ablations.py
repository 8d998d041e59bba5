"""Settings of a grid side by side: every difference with its interval, and the time of a token."""

import numpy as np
import pytest
import xarray as xr

from lvlmscope import plot
from lvlmscope.errors import EvaluationError, ShapeError
from lvlmscope.evaluation import Dataset, Item, Vocabulary, score_answers, setting_differences
from tests.support.drawn_figures import overlapping_labels, texts_outside

TRUE, FALSE = "A dog.", "A dog and a cat near a dog and some grass, or so it seems to me."


def evaluated():
    """Six images of a dog, of which plain captions name a cat in four, `mild` in two, `strong` in none."""
    items = tuple(Item(id=str(n), image=None, image_id=str(n), objects=("dog",)) for n in range(6))
    words = Vocabulary({"dog": ["dog"], "cat": ["cat"]})
    data = Dataset(name="dogs", metric="chair", items=items, vocabulary=words, max_new_tokens=30)
    answers = {"plain": [FALSE] * 4 + [TRUE] * 2, "mild": [FALSE] * 2 + [TRUE] * 4, "strong": [TRUE] * 6}
    return score_answers(data, answers, resamples=200)


def test_the_array_has_what_the_evaluation_says():
    result = evaluated()
    found = setting_differences(result)
    assert found["setting"].values.tolist() == ["mild", "strong"]
    assert found["score"].values.tolist() == ["CHAIR_I", "CHAIR_S", "recall", "words"]
    assert found["against"].values.tolist() == ["plain", "plain, cut to as many mentions"]
    gap = result.difference("strong", "plain").differences["chair_s"]
    cell = found.sel(setting="strong", score="CHAIR_S", against="plain")
    assert [cell[name].item() for name in ("difference", "low", "high")] == [gap.value, gap.low, gap.high]
    assert gap.value == pytest.approx(-4 / 6)
    assert found["latency"].isnull().all()  # nothing was generated
    assert setting_differences(result, scores=["chair_i"])["score"].values.tolist() == ["CHAIR_I"]
    with pytest.raises(EvaluationError, match="got accuracy; expected: chair_i"):
        setting_differences(result, scores=["accuracy"])
    with pytest.raises(EvaluationError, match="without interventions"):
        setting_differences(score_answers_alone(result))


def score_answers_alone(result):
    data = Dataset(
        name="dogs", metric="chair", items=result.items, vocabulary=Vocabulary({"dog": ["dog"]}), max_new_tokens=30
    )
    return score_answers(data, {"plain": result.row("plain").answers}, resamples=200)


def timed(settings=30):
    """As many settings as a grid of some parameters has, with long names."""
    shape = (2, settings, 3)
    middle = np.linspace(-0.3, 0.1, np.prod(shape)).reshape(shape)
    dims = ("against", "setting", "score")
    return xr.Dataset(
        {
            "difference": (dims, middle),
            "low": (dims, middle - 0.1),
            "high": (dims, middle + 0.05),
            "latency": ("setting", np.linspace(20, 40, settings)),
        },
        coords={
            "against": ["plain", "plain, cut to as many mentions"],
            "setting": [f"clva:alpha={n / 10},beta=0.05,layers=(0.0, 0.5)" for n in range(settings)],
            "score": ["CHAIR_I", "recall", "words"],
        },
        attrs={"plain_latency": 10.0, "level": 0.95},
    )


@pytest.mark.parametrize("width", [9.5, 4.0])
def test_points_and_bars_are_the_differences_and_their_intervals(width):
    found = timed()
    figure = plot.ablation(found, width=width)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["CHAIR_I", "recall", "words", "ms a token"]
    points, bars = figure.axes[1].containers[0][0], figure.axes[1].containers[0][2][0]
    one = found.isel(against=0).sel(score="recall")
    np.testing.assert_allclose(points.get_xdata(), one["difference"])
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([one["low"], one["high"]], -1))
    latencies = figure.axes[3].collections[0].get_offsets()
    np.testing.assert_allclose(latencies[:, 0], found["latency"])
    assert figure.axes[3].lines[0].get_xdata()[0] == 10.0
    assert texts_outside(figure) == []
    assert overlapping_labels(figure) == []


def test_plotly_shows_the_same_on_hover():
    found = timed(3)
    figure = plot.ablation(found, backend="plotly")
    assert len(figure.data) == 7
    assert figure.data[1].x == pytest.approx(found.isel(against=1, score=0)["difference"].values)
    assert figure.data[1].error_x.array == pytest.approx([0.05] * 3)
    assert figure.data[1].error_x.arrayminus == pytest.approx([0.1] * 3)
    assert figure.data[6].x == pytest.approx(found["latency"].values)


def test_another_dataset_is_refused():
    for wrong in (xr.Dataset(), timed().isel(setting=[])):
        with pytest.raises(ShapeError, match="expected: what setting_differences gives"):
            plot.ablation(wrong)
