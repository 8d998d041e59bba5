"""Recommendations by hand: which layers, window and threshold each gets from a trace, and its evidence."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.diagnostics import planted_trace
from lvlmscope.risk.findings import drift_of, flags_of
from lvlmscope.risk.recommendations import Evidence, propose
from lvlmscope.risk.word_risk import WordReadings, WordRisk
from lvlmscope.traces.trace import Trace


def case_of(trace: Trace, steps: list[int], risky: tuple[int, ...], **ranks: list[list[float]]) -> Evidence:
    """Words that begin at these steps; ranks by signal ``[word, layer]`` on the side of hallucinated words."""

    class Given(WordReadings):
        def suspicion(self, name: str) -> np.ndarray:
            return np.array(ranks[name])

    values = {name: np.array(found) for name, found in ranks.items()}
    layers = dict.fromkeys(ranks, trace.layer_indices)
    readings = Given(words=(), values=values, layers=layers, suspicious={}, calibration=None)
    risks = tuple(WordRisk(text="word", steps=(step,), category=None, risk=0.5, raised=()) for step in steps)
    return Evidence(trace=trace, readings=readings, risks=risks, risky=risky, bundled=False)


def only(case: Evidence, name: str) -> Any:
    (found,) = (each for each in propose(case) if each.name == name)
    return found


def spread(*where: set[int], steps: int = 4) -> Trace:
    """Layers that look at one patch, but at these steps at all patches; the first of two heads looks more."""
    trace = planted_trace(steps=steps, layers=len(where), heads=2)
    weights = torch.zeros_like(trace.attention)
    for layer, at in enumerate(where):
        for step in range(steps):
            for head, mass in enumerate((0.6, 0.3)):
                if step in at:
                    weights[step, layer, head, 1:17] = mass / 16
                else:
                    weights[step, layer, head, 3] = mass
    weights[..., 0] = 1 - weights.sum(-1)
    return dataclasses.replace(trace, attention=weights)


EVERY, NEVER = {0, 1, 2, 3}, set[int]()


def test_dleaf_gets_layers_flagged_at_half_of_the_words_and_those_never_flagged() -> None:
    trace = spread(NEVER, {1}, EVERY, {0}, NEVER)
    ranks = [[0.1, 0.2, 0.3, 0.4, 0.5], [0.9] * 5, [0.3, 0.6, 0.7, 0.8, 0.9]]
    case = case_of(trace, [1, 2, 3], (0, 2), layer_image_entropy=ranks)
    found = only(case, "DLEAF")
    assert found.intervention.layers == (0, 1, 2, 4)  # layer 3 is flagged at no word at risk
    assert found.evidence == pytest.approx(np.mean([(0.2 + 0.6) / 2, (0.3 + 0.7) / 2]))  # of layers 1 and 2
    assert "layers 1, 2" in found.reason
    several = case_of(trace, [1, 2, 3], (0, 1, 2), layer_image_entropy=ranks)
    assert only(several, "DLEAF").intervention.layers == (0, 2, 4)  # layer 1 at one of three words
    assert propose(case_of(spread(*[NEVER] * 3), [1], (0,), layer_image_entropy=[[0.5] * 3])) == ()


def test_flags_are_shares_of_steps_and_means_over_them() -> None:
    layers, heads = flags_of(spread(NEVER, {1}, EVERY, {0, 2}), EntropyRule())
    assert [(one.layer, one.share, one.heads) for one in layers] == [(1, 0.25, 1.0), (2, 1.0, 1.0), (3, 0.5, 1.0)]
    assert [(one.layer, one.head, one.share) for one in heads] == [(2, 1, 1.0), (3, 1, 0.5), (1, 1, 0.25)]


@pytest.mark.parametrize(
    ("steps", "risky", "window"),
    [
        ([0, 1, 3, 6], (2, 3), 2),  # gaps of 2 and 3
        ([0, 1, 3, 6], (3,), 3),
        ([0, 1, 3, 6], (1,), 1),
        ([0, 2], (0,), 1),  # no word before it
        ([0, 19], (1,), 8),  # the longest
        ([5, 9], (0,), 5),  # from the answer's start
    ],
)
def test_locores_window_reaches_back_to_the_word_before(steps: list[int], risky: tuple[int, ...], window: int) -> None:
    trace = planted_trace(steps=20, layers=3)
    ranks = [[0.4, 0.9, math.nan]] * len(steps)
    ranks[risky[-1]] = [0.4, 0.7, math.nan]
    found = only(case_of(trace, steps, risky, saliency_to_previous=ranks), "LocoRE")
    assert found.intervention.window == window
    assert found.intervention.layers == (1,)  # those above a half
    known = [0.9] * (len(risky) - 1) + [0.7]
    assert found.evidence == pytest.approx((0.4 + np.mean(known)) / 2)


def test_locore_edits_all_layers_where_none_is_weak() -> None:
    trace = planted_trace(steps=4, layers=3)
    found = only(case_of(trace, [0, 2], (1,), saliency_to_previous=[[0.9] * 3, [0.5, 0.4, 0.2]]), "LocoRE")
    assert found.intervention.layers is None
    assert "below the usual" not in found.reason


def resting_on_the_answer(*, until: int) -> Trace:
    """Rows that rest on all words so far alike, 1 / sqrt(t) on average; up to a step on an image key as much more."""
    trace = planted_trace(steps=6, layers=8)
    gradient = torch.zeros_like(trace.attention)
    for step in range(1, 6):
        own = slice(trace.num_prompt_keys, trace.num_prompt_keys + step)
        gradient[step, ..., own] = 1 / trace.attention[step, 0, 0, own]
        if step <= until:
            gradient[step, ..., 3] = 3 / trace.attention[step, 0, 0, 3]
    return dataclasses.replace(trace, gradient=gradient)


@pytest.mark.parametrize(
    ("steps", "until", "alpha", "told"),
    [
        ([2], 0, 0.75, "71%"),  # sqrt(1/2) of 1
        ([3], 0, 0.70, "68%"),  # sqrt(1/3) of the mean of 1 and sqrt(1/2)
        ([2, 3], 0, 0.75, "71%"),
        ([1, 3], 0, 0.70, "68%"),  # the second token has none before it
        ([3], 2, 0.60, "187%"),  # would reject most words: the paper's
    ],
)
def test_sgrss_threshold_would_have_rejected_the_words(steps: list[int], until: int, alpha: float, told: str) -> None:
    ranks = [[0.25] * 8] * len(steps)
    case = case_of(resting_on_the_answer(until=until), steps, tuple(range(len(steps))), saliency_to_answer=ranks)
    found = only(case, "SGRS")
    assert found.intervention.alpha == pytest.approx(alpha)
    assert f"at most {told} of that" in found.reason
    assert found.evidence == pytest.approx(0.25)


def test_a_threshold_below_the_papers_is_the_papers() -> None:
    trace = planted_trace(steps=6, layers=8, salient="previous")  # 1, 1/2, 1/3: the third is 4/9 of those before
    found = only(case_of(trace, [3], (0,), saliency_to_answer=[[0.25] * 8]), "SGRS")
    assert (found.intervention.alpha, "at most 44% of that" in found.reason) == (0.6, True)


@pytest.mark.parametrize(
    ("looking", "middle"),
    [({4: 0.6, 5: 0.7, 6: 0.3}, (4, 5)), ({2: 0.7, 3: 0.4, 5: 0.6}, (2, 3)), ({2: 0.5, 5: 0.4, 6: 0.7}, (5, 6))],
)
def test_clvas_middle_looks_most_and_deep_layers_come_after_it(
    looking: dict[int, float], middle: tuple[int, int]
) -> None:
    trace = planted_trace(steps=2, layers=10, heads=2, mass=0.2)
    weights = trace.attention.clone()
    for layer, mass in (looking | {0: 0.9, 8: 0.8}).items():
        weights[:, layer, :, 1:17] = mass / 16
    trace = dataclasses.replace(trace, attention=weights)
    found = only(case_of(trace, [0], (0,), r_neg=[[n / 10 for n in range(10)]]), "CLVA")
    chosen = found.intervention
    assert (chosen.initial, chosen.middle, chosen.deep) == ((0,), middle, (7, 8, 9))
    assert found.evidence == pytest.approx(0.8)
    assert f"highest in layers {middle[0]}, {middle[1]}; layers 7-9 correlate" in found.reason


def test_the_one_with_the_most_evidence_comes_first_and_one_without_is_left_out() -> None:
    trace = planted_trace(steps=6, layers=8, salient="previous")
    ranks = {"saliency_to_answer": [[0.3] * 8], "saliency_to_previous": [[0.6] * 8], "layer_image_entropy": [[0.9] * 8]}
    assert [each.name for each in propose(case_of(trace, [2], (0,), **ranks))] == ["LocoRE", "SGRS"]
    ranks["saliency_to_answer"] = [[0.7] * 8]
    assert [each.name for each in propose(case_of(trace, [2], (0,), **ranks))] == ["SGRS", "LocoRE"]
    ranks["saliency_to_answer"] = [[math.nan] * 8]
    assert [each.name for each in propose(case_of(trace, [2], (0,), **ranks))] == ["LocoRE"]


def test_drift_is_towards_noise_only_where_both_anchors_say_so() -> None:
    maps = [0, 0, 5, 9, 9, 9, 0, 0]  # the patch that each layer looks at: noise, then the anchor, then noise again
    trace = planted_trace(steps=1, layers=8, heads=2)
    weights = torch.zeros_like(trace.attention)
    for layer, patch in enumerate(maps):
        weights[:, layer, :, 1 + patch] = 0.5
    weights[..., 0] = 0.5
    found = drift_of(dataclasses.replace(trace, attention=weights))
    assert found is not None
    assert found.r_neg_middle < found.r_neg_deep
    assert found.r_pos_deep < found.r_pos_middle
    assert found.towards_noise
    assert not dataclasses.replace(found, r_neg_deep=found.r_neg_middle).towards_noise
    assert not dataclasses.replace(found, r_pos_deep=found.r_pos_middle).towards_noise
