"""Signals over many traces: the twin, planted classes of words, the papers' figures, and bad input."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lvlmscope.capture.span_labels import label_spans
from lvlmscope.diagnostics import image_attention_focus, layer_image_entropy, planted_trace, visual_attention_ratio
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import Vocabulary, aggregate, label_words
from lvlmscope.evaluation.paper_figures import (
    abnormal_heads_by_layer,
    entropy_by_layer,
    entropy_by_object,
    entropy_by_word,
    image_attention_by_head,
    pearson_by_layer,
    saliency_by_word,
)
from lvlmscope.interventions import DLEAF
from lvlmscope.traces.trace import Trace
from tests.reference import aggregation as twin
from tests.reference import detection as intervals
from tests.support.labelled_traces import LAYERS, labels_of, made
from tests.support.random_traces import blind

HEADS = 2


def random_trace(seed: int, steps: int, layers: int = 4, heads: int = 3) -> Trace:
    trace = planted_trace(steps=steps, layers=layers, heads=heads, side=2)
    noise = torch.rand(trace.attention.shape, generator=torch.Generator().manual_seed(seed)) ** 3
    weights = noise * (trace.attention > 0)
    return dataclasses.replace(trace, attention=weights / weights.sum(-1, keepdim=True))


@pytest.mark.parametrize("by", [("layer",), ("head",), ("layer", "head"), ("head", "layer"), ()])
def test_statistics_equal_their_twin(by: tuple) -> None:
    traces = [random_trace(seed, steps=2 + seed) for seed in range(3)]
    found = aggregate((t for t in traces), "image_attention_focus", by=by, resamples=50)
    for layer in range(4) if "layer" in by else [None]:
        for head in range(3) if "head" in by else [None]:
            readings = [
                value
                for trace in traces
                for value in twin.reading_means(image_attention_focus(trace).values.tolist(), layer, head)
            ]
            mean, spread, count = twin.statistics(readings)
            cell = found.sel({k: v for k, v in (("layer", layer), ("head", head)) if v is not None})
            assert cell["mean"].item() == pytest.approx(mean, abs=1e-6)
            assert cell["spread"].item() == pytest.approx(spread, abs=1e-5)
            assert cell["count"].item() == count == 9
            assert cell["traces"].item() == 3
            assert cell["low"].item() <= mean <= cell["high"].item()
    assert set(found["mean"].dims) == set(by)


def test_the_interval_resamples_traces_not_tokens() -> None:
    traces = [planted_trace(mass=mass, steps=3) for mass in (0.1, 0.2, 0.6)]
    found = aggregate(traces, "image_attention_focus", by="layer", resamples=400, level=0.9, seed=3)
    drawn = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=400)
    means = (drawn @ np.array([0.1, 0.2, 0.6]) / 3).tolist()
    assert found["low"].values == pytest.approx([intervals.percentile(means, 0.05)] * 2, abs=1e-6)
    assert found["high"].values == pytest.approx([intervals.percentile(means, 0.95)] * 2, abs=1e-6)
    assert found.attrs["level"] == 0.9


def test_classes_of_words_are_told_apart() -> None:
    traces = made(10, focus=lambda hallucinated: 0.2 if hallucinated else 0.8)
    labels = [tuple(word for word in words if word.text != "word2") for words in labels_of(traces)]
    found = aggregate(traces, "image_attention_focus", by=("layer", "word"), labels=labels)
    assert found["mean"].sel(layer=1, word="grounded").item() == pytest.approx(0.8)
    assert found["mean"].sel(layer=1, word="hallucinated").item() == pytest.approx(0.2)
    assert found["count"].sel(layer=1).values.tolist() == [5, 5, 20]
    assert found["traces"].sel(layer=1).values.tolist() == [5, 5, 10]
    by_head = aggregate(traces, "image_attention_focus", by=("word", "head"), labels=labels)
    assert by_head["mean"].sizes == {"word": 3, "head": HEADS}


def test_objects_and_spans_are_told_apart() -> None:
    traces = [label_spans(trace, (" word0", " word2")) for trace in made(6)]
    labels = labels_of(traces)
    labels[0] = tuple(word for word in labels[0] if word.text != "word2")  # names no cat
    by_object = aggregate(traces, "log_prob", by=("word", "category"), labels=labels)
    assert by_object["category"].values.tolist() == ["cat", "dog"]
    for category, word in (("dog", "word1"), ("cat", "word2")):
        for label in ("grounded", "hallucinated"):
            own = [
                float(trace.log_probs[word.steps[0]])
                for trace, words in zip(traces, labels, strict=True)
                for word in words
                if (word.category, word.label) == (category, label)
            ]
            mean, spread, count = twin.statistics(own)
            cell = by_object.sel(word=label, category=category)
            assert cell["mean"].item() == pytest.approx(mean, abs=1e-6)
            assert cell["spread"].item() == pytest.approx(spread, abs=1e-5)
            assert cell["count"].item() == count, word
    assert by_object["count"].sel(word="other").values.tolist() == [0, 0]
    by_span = aggregate(traces, "log_prob", by="span")
    assert by_span["span"].values.tolist() == ["thinking", "answer", "marker"]
    expected = [np.mean([float(trace.log_probs[step]) for trace in traces]) for step in (1, 3)]
    assert by_span["mean"].values[:2] == pytest.approx(expected, abs=1e-6)
    assert by_span["count"].values.tolist() == [6, 6, 12]
    both = aggregate(traces, "image_attention_focus", by=("layer", "span", "word"), labels=labels)
    assert both["count"].sel(layer=0, span="thinking").values.tolist() == [3, 3, 0]
    figure = entropy_by_object(traces, labels)
    assert dict(figure["mean"].sizes) == {"layer": LAYERS, "word": 2, "category": 2}
    with pytest.raises(EvaluationError, match="spans are not known: its model declares no markers"):
        aggregate(made(1), "log_prob", by="span")
    with pytest.raises(EvaluationError, match="no word that names an object"):
        aggregate(traces[:1], "log_prob", by="category", labels=[()])


def test_tokens_of_a_word() -> None:
    trace = made(1)[0]
    words = [dataclasses.replace(labels_of([trace])[0][1], steps=(1, 2))]
    values = trace.log_probs.tolist()
    first = aggregate([trace], "log_prob", by="word", labels=[words])
    mean = aggregate([trace], "log_prob", by="word", labels=[words], tokens="mean")
    assert first["mean"].sel(word="grounded").item() == pytest.approx(values[1])
    assert mean["mean"].sel(word="grounded").item() == pytest.approx((values[1] + values[2]) / 2)


def test_missing_readings_single_traces_and_signals_without_steps() -> None:
    trace = random_trace(1, steps=2)
    blind = dataclasses.replace(trace, attention=trace.attention.where(~trace.image_keys, 0.0))
    found = aggregate([trace, blind], "layer_image_entropy")
    assert found["count"].values.tolist() == [2] * 4
    assert found["traces"].values.tolist() == [1] * 4
    nothing = aggregate([blind], "layer_image_entropy")
    assert np.isnan(nothing["mean"]).all()
    assert np.isnan(nothing["low"]).all()
    ratio = aggregate([trace, trace], visual_attention_ratio, by=("layer", "head"))
    assert ratio["count"].values.tolist() == [[2] * 3] * 4
    empty = aggregate([trace], "log_prob", by="word", labels=[()])
    assert empty["count"].values.tolist() == [0, 0, 0]


@pytest.mark.parametrize("threshold", ["min", "max", "mean"])
def test_flags_equal_the_walk_of_the_paper(threshold: str) -> None:
    trace = random_trace(5, steps=4, layers=6, heads=5)
    found = flagged_heads(trace, DLEAF(threshold=threshold).rule)
    entropy, mass = layer_image_entropy(trace).values, image_attention_focus(trace).values
    for step in range(4):
        expected = twin.flagged(entropy[:, step].tolist(), mass[..., step].tolist(), threshold)
        assert found.values[..., step].astype(bool).tolist() == expected
    later = flagged_heads(trace, DLEAF(threshold=threshold, layers=[3, 4]).rule)
    assert not later.sel(layer=[0, 1, 2, 3, 5]).any()


def test_the_papers_figures() -> None:
    traces = made(6)
    heads = image_attention_by_head(traces)
    assert heads["mean"].dims == ("layer", "head")
    assert entropy_by_layer(iter(traces))["mean"].sizes == {"layer": LAYERS}
    assert entropy_by_word(traces, labels_of(traces))["mean"].sizes == {"layer": LAYERS, "word": 3}
    curves = pearson_by_layer([random_trace(seed, steps=2) for seed in range(3)])
    assert curves["mean"].sizes == {"anchor": 2, "layer": 4}
    assert curves["count"].sel(anchor="r_pos", layer=0).item() == 6
    flat = abnormal_heads_by_layer([planted_trace()])
    assert flat["mean"].values.tolist() == [0.0, 0.0]
    assert flat.attrs["units"] == "heads"
    narrow, wide = torch.zeros(16), torch.full((16,), 1 / 16)
    narrow[3] = 1.0
    trace = planted_trace(mass=0.5, heads=4)
    weights = trace.attention.clone()
    mass = torch.tensor([0.8, 0.1, 0.1, 0.1])[:, None]
    weights[:, 0, :, trace.image_keys], weights[:, 1, :, trace.image_keys] = mass * narrow, mass * wide
    flagged = abnormal_heads_by_layer([dataclasses.replace(trace, attention=weights)])
    assert flagged["mean"].values.tolist() == [0.0, 3.0]


def test_bad_input_is_refused() -> None:
    traces = made(4)
    with pytest.raises(EvaluationError, match="no traces"):
        aggregate([], "log_prob", by=())
    with pytest.raises(EvaluationError, match="internal_confidence, which needs the model"):
        aggregate(traces, "internal_confidence")
    with pytest.raises(EvaluationError, match=r"'speed'; expected: .*position"):
        aggregate(traces, "speed")
    with pytest.raises(EvaluationError, match=r"by=\('layer',\) of a signal with dims \('step',\)"):
        aggregate(traces, "log_prob", by="layer")
    with pytest.raises(EvaluationError, match=r"by=\('word',\) without labels"):
        aggregate(traces, "log_prob", by="word")
    with pytest.raises(EvaluationError, match="labels, and by"):
        aggregate(traces, "log_prob", by=(), labels=labels_of(traces))
    with pytest.raises(EvaluationError, match="4 traces and more labels"):
        aggregate(traces, "log_prob", by="word", labels=[*labels_of(traces), ()])
    with pytest.raises(ModelInputError, match=r"level=1.0; expected: a number above 0, below 1"):
        aggregate(traces, "log_prob", by=(), level=1.0)
    with pytest.raises(ModelInputError, match="resamples=0; expected: a whole number from 1"):
        aggregate(traces, "log_prob", by=(), resamples=0)
    with pytest.raises(EvaluationError, match=r"shapes \(3,\) and \(2,\)"):
        aggregate([traces[0], planted_trace()], "layer_image_entropy")
    with pytest.raises(EvaluationError, match="signal with dims"):
        aggregate(traces, lambda trace: trace.to_xarray()["attention"])
    with pytest.raises(EvaluationError, match="got a trace without image keys"):
        flagged_heads(blind(traces[0]))


def test_saliency_of_true_and_hallucinated_words() -> None:
    leaning, loose = planted_trace(salient="previous"), planted_trace(salient=3)
    words = Vocabulary({"dog": ["word1"]})
    labels = [label_words(leaning, {"dog"}, words), label_words(loose, set(), words)]
    found = saliency_by_word([leaning, loose], labels)["mean"]
    assert found.sel(word="grounded").item() == pytest.approx(1.0)
    assert found.sel(word="hallucinated").item() == pytest.approx(0.0)


@pytest.mark.usefixtures("unchecked_shapes")
def test_unknown_axes_are_refused() -> None:
    with pytest.raises(ModelInputError, match="by='colour'; expected: 'layer', 'head', 'word'"):
        aggregate(made(1), "log_prob", by="colour")


def test_nan_is_not_taken_for_zero() -> None:
    assert math.isnan(twin.statistics([math.nan])[0])
    trace = random_trace(2, steps=1)
    assert np.isnan(aggregate([trace], "log_prob", by=())["spread"].item())
