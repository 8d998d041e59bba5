"""Perception and reasoning heads: the paper's rule, its presets, and thresholds by share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.attention.functional_head_rule import PRESETS, HeadRule, preset_named, rule_by_share
from lvlmscope.errors import ModelInputError
from tests.reference import functional_heads as twin


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), layers=st.integers(1, 9), heads=st.integers(2, 8), share=st.floats(0.01, 0.3))
def test_share_equals_its_twin(seed: int, layers: int, heads: int, share: float) -> None:
    ratio = torch.rand(layers, heads, generator=torch.Generator().manual_seed(seed)).double()
    thresholds = twin.thresholds(ratio.tolist(), share, perception_until=0.26, reasoning_from=0.11)
    if not thresholds["tau_reas"] < thresholds["tau_perc"]:
        with pytest.raises(ModelInputError, match="tau_reas below tau_perc"):
            rule_by_share(ratio, range(layers), share=share)
        return
    rule = rule_by_share(ratio, range(layers), share=share)
    assert {name: getattr(rule, name) for name in thresholds} == thresholds
    perception, reasoning = rule.masks(ratio, torch.arange(layers).unsqueeze(-1))
    assert [perception.tolist(), reasoning.tolist()] == twin.classes(ratio.tolist(), **thresholds)
    assert not (perception & reasoning).any()


def test_rows_of_one_layer_are_classed_each_on_its_own() -> None:
    rule = HeadRule(l_perc=3, tau_perc=0.5, l_reas=2, tau_reas=0.1)
    ratio = torch.tensor([[[0.6, 0.05], [0.2, 0.5]]])
    for layer, early, late in ((1, True, False), (2, True, True), (4, False, True)):
        perception, reasoning = rule.masks(ratio, layer)
        assert perception.tolist() == [[[early, False], [False, early]]]
        assert reasoning.tolist() == [[[False, late], [False, False]]]


def test_boundaries_are_the_papers_in_a_model_of_28_layers() -> None:
    ratio = torch.linspace(0, 1, 28 * 28).view(28, 28)
    rule = rule_by_share(ratio, range(28))
    assert (rule.l_perc, rule.l_reas) == (PRESETS["Ocean-R1-7B"].rule.l_perc, PRESETS["Ocean-R1-7B"].rule.l_reas)
    perception, reasoning = rule.masks(ratio, torch.arange(28).unsqueeze(-1))
    assert int(perception.sum() + reasoning.sum()) == 50  # 0.064 of 784


def test_half_precision_and_nan() -> None:
    rule = HeadRule(l_perc=3, tau_perc=0.5, l_reas=0, tau_reas=0.1)
    perception, reasoning = rule.masks(torch.tensor([0.75, float("nan"), 0.0], dtype=torch.bfloat16), 2)
    assert perception.tolist() == [True, False, False]
    assert reasoning.tolist() == [False, False, True]
    ratio = torch.tensor([[0.75, float("nan")], [0.25, float("nan")]])
    assert rule_by_share(ratio, (0, 1)).tau_perc == 0.75


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: HeadRule(l_perc=1, tau_perc=0.1, l_reas=1, tau_reas=0.1), "tau_reas below tau_perc"),
        (
            lambda: HeadRule(l_perc=-1, tau_perc=0.2, l_reas=1, tau_reas=0.1),
            "l_perc=-1; expected: a layer number from 0",
        ),
        (lambda: preset_named("GPT"), "preset 'GPT'; expected: Kimi-VL-A3B-Thinking, Ocean-R1-7B, R1-Onevision-7B"),
        (lambda: rule_by_share(torch.rand(2, 2), (0, 1), share=0.0), "a share in"),
        (lambda: rule_by_share(torch.rand(2, 2), (0, 1), reasoning_from=1.5), "depths in"),
        (
            lambda: rule_by_share(torch.full((4, 4), 0.5), range(4)),
            "too alike: tau_reas 0.5 and tau_perc 0.5 .*move the depths",
        ),
        (lambda: rule_by_share(torch.full((2, 2), float("nan")), (0, 1)), "no visual attention ratio up to layer 0"),
    ],
)
def test_bad_input_is_refused(call, text: str) -> None:
    with pytest.raises(ModelInputError, match=text):
        call()


def test_presets_are_the_papers_table() -> None:
    rows = {
        name: (p.rule.l_reas, p.rule.tau_reas, p.g_reas, p.rule.l_perc, p.rule.tau_perc, p.g_perc)
        for name, p in PRESETS.items()
    }
    assert rows == twin.TABLE


@pytest.mark.parametrize(
    "options",
    [
        *({"share": value} for value in (0.0, -0.1, 1.01)),
        *({name: value} for name in ("perception_until", "reasoning_from") for value in (-0.01, 1.01, 2.0)),
    ],
    ids=str,
)
def test_a_share_or_a_depth_outside_its_range_is_refused(options: dict[str, float]) -> None:
    ratio = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ModelInputError, match=r"a share in \(0, 1\] and depths in \[0, 1\]"):
        rule_by_share(ratio, range(4), **options)
