"""Hallucinated words by cause: shares of functional heads and counts against their twins, planted causes, a sweep."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.attention.functional_head_rule import HeadRule
from lvlmscope.diagnostics import functional_heads, planted_trace
from lvlmscope.errors import EvaluationError, ModelInputError
from lvlmscope.evaluation import (
    Vocabulary,
    bundled_dataset,
    functional_head_share,
    hallucination_causes,
    label_words,
)
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS
from tests.reference import hallucination_causes as twin

RULE = HeadRule(l_perc=1, tau_perc=0.4, l_reas=2, tau_reas=0.1)
EVEN = HeadRule(l_perc=1, tau_perc=0.6, l_reas=2, tau_reas=0.5)  # random heads: half of them and less
WORDS = Vocabulary({"dog": ["word1"], "cat": ["word3"]})


def with_ratio(ratio: torch.Tensor) -> Trace:
    """A trace whose heads put so much attention on the image: `[step, layer, head]`."""
    steps, layers, heads = ratio.shape
    trace = planted_trace(steps=steps, layers=layers, heads=heads, side=2)
    weights = torch.zeros_like(trace.attention)
    weights[..., trace.image_keys] = (ratio / 4).unsqueeze(-1)
    weights[..., 0] = 1 - ratio
    return dataclasses.replace(trace, attention=weights)


def random_ratio(seed: int, *, steps: int = 5, layers: int = 4, heads: int = 6) -> torch.Tensor:
    return torch.rand(steps, layers, heads, generator=torch.Generator().manual_seed(seed)).clamp(0.01, 0.99)


def test_shares_equal_their_twin() -> None:
    ratio = random_ratio(0)
    ratio[:, 3] = 0.0  # a layer that does not see the image
    trace, layers = with_ratio(ratio), [0, 1, 2, 3]
    for of, possible, chosen in (
        ("perception", [0, 1], lambda value: value >= RULE.tau_perc),
        ("reasoning", [2, 3], lambda value: value <= RULE.tau_reas),
    ):
        expected = twin.head_share(ratio.tolist(), layers, possible=possible, chosen=chosen)
        found = functional_head_share(trace, of, rule=RULE)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dims == ("layer", "step")
    one = functional_heads(trace, rule=RULE, step=2)
    own = functional_head_share(trace, "perception", rule=RULE).sel(step=2)
    np.testing.assert_allclose(own[:2], (one == "perception").mean("head")[:2])


def test_by_share_the_answer_as_a_whole_has_so_many() -> None:
    trace = with_ratio(random_ratio(1, steps=20, layers=8))
    found = [functional_head_share(trace, of, share=0.2) for of in ("perception", "reasoning")]
    heads = 20 * 8 * 6
    for one in found:
        assert one.fillna(0).sum().item() * 6 == pytest.approx(0.1 * heads, abs=1)
    usual = functional_heads(trace)
    for one in (functional_head_share(trace, "reasoning"), functional_head_share(trace)):
        assert [one.attrs[name] for name in ("l_perc", "l_reas")] == [
            usual.attrs[name] for name in ("l_perc", "l_reas")
        ]
    with pytest.raises(ModelInputError, match="got preset and rule"):
        functional_head_share(trace, preset="Ocean-R1-7B", rule=RULE)
    with pytest.raises(ModelInputError, match="l_perc 7 and l_reas 3 for 4 layers"):
        functional_head_share(with_ratio(random_ratio(1)), preset="Ocean-R1-7B")


def labelled(count: int) -> tuple[list[Trace], list[Any]]:
    traces = [with_ratio(random_ratio(seed)) for seed in range(count)]
    present = [{"dog"} if seed % 3 else {"cat"} for seed in range(count)]
    return traces, [label_words(trace, here, WORDS) for trace, here in zip(traces, present, strict=True)]


def test_counts_equal_their_twin() -> None:
    traces, labels = labelled(30)
    found = hallucination_causes(iter(traces), iter(labels), rule=EVEN, quantile=0.25, resamples=200)
    words = []
    for trace, own in zip(traces, labels, strict=True):
        ratio = trace.rows().image_mass.tolist()
        shares = [
            twin.head_share(ratio, [0, 1, 2, 3], possible=[0, 1], chosen=lambda value: value >= EVEN.tau_perc),
            twin.head_share(ratio, [0, 1, 2, 3], possible=[2, 3], chosen=lambda value: value <= EVEN.tau_reas),
        ]
        for word in own:
            if word.label != "other":
                at = [twin.mean_over_layers([layer[word.steps[0]] for layer in one]) for one in shares]
                words.append((at[0], at[1], word.label == "hallucinated"))
    expected = twin.causes(words, 0.25)
    for label, wrong in (("hallucinated", True), ("grounded", False)):
        cell = found.sel(word=label)
        assert dict(zip(found["cause"].values, cell["count"].values, strict=True)) == expected[wrong]
        total = sum(expected[wrong].values())
        np.testing.assert_allclose(cell["share"], [count / total for count in expected[wrong].values()])
        assert (cell["low"] <= cell["share"]).all()
        assert (cell["share"] <= cell["high"]).all()


@pytest.mark.parametrize(
    ("layers", "value", "cause"), [((0, 1), 0.2, "perception"), ((2, 3), 0.6, "reasoning"), ((0, 3), None, "both")]
)
def test_a_planted_cause_is_found(layers: tuple[int, int], value: float | None, cause: str) -> None:
    traces, labels = [], []
    for number in range(8):
        ratio = torch.full((5, 4, 6), 0.5)
        ratio[:, 2:] = 0.05
        if number % 2:  # word1 is not in the image
            if value is None:
                ratio[1, :2], ratio[1, 2:] = 0.2, 0.6
            else:
                ratio[1, layers[0] : layers[1] + 1] = value
        traces.append(with_ratio(ratio))
        labels.append(label_words(traces[-1], set() if number % 2 else {"dog"}, Vocabulary({"dog": ["word1"]})))
    found = hallucination_causes(traces, labels, rule=RULE, resamples=100)
    assert found["share"].sel(word="hallucinated", cause=cause).item() == 1.0
    assert found["share"].sel(word="grounded", cause="neither").item() == 1.0
    assert found["count"].sum().item() == 8


def test_a_sweep_that_holds_the_shares_gives_the_same(tmp_path: Path) -> None:
    rule = HeadRule(l_perc=3, tau_perc=0.5, l_reas=4, tau_reas=0.2)
    names = ("perception_share_here", "reasoning_share_here")
    model, data = lv.load("tiny", check=False), bundled_dataset("tiny-chair", n=2)
    with SIGNALS.temporary():
        for name in names:
            options: dict[str, Any] = {"of": name.partition("_")[0], "rule": rule}
            lv.signal(name=name, kind="attention", options=options)(functional_head_share)
        swept = lv.sweep(
            model, data, tmp_path, signals=names, max_new_tokens=24, batch_size=1, max_memory=None, progress=False
        )
        found = hallucination_causes(swept, signals=names, resamples=50)
        with pytest.raises(EvaluationError, match="a sweep's folder with other options"):
            hallucination_causes(swept)
    ask: dict[str, Any] = {"max_new_tokens": 24, "progress": False}
    traces = [lv.trace(model, item.open(), "Describe the image.", **ask) for item in data.items]
    labels = [
        label_words(trace, item.objects or (), data.vocabulary) for trace, item in zip(traces, data.items, strict=True)
    ]
    expected = hallucination_causes(traces, labels, rule=rule, resamples=50)
    np.testing.assert_array_equal(found["count"], expected["count"])


def test_bad_input_is_refused() -> None:
    traces, labels = labelled(3)
    with pytest.raises(EvaluationError, match="got traces without labels"):
        hallucination_causes(traces)
    with pytest.raises(EvaluationError, match="got traces with signals="):
        hallucination_causes(traces, labels, signals=("a", "b"))
    with pytest.raises(EvaluationError, match="no grounded word with both shares"):
        hallucination_causes(traces, [label_words(trace, set(), WORDS) for trace in traces], rule=RULE)
    with pytest.raises(EvaluationError, match=r"got reasoning heads at so few words that 0\.1 of the grounded ones"):
        hallucination_causes(*labelled(30), rule=RULE)
    with pytest.raises(ModelInputError, match=r"quantile=1\.0"):
        hallucination_causes(traces, labels, quantile=1.0)
