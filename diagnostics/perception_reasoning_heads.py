"""Perception and reasoning heads of a trace."""

from dataclasses import asdict

import numpy as np
import torch
import xarray as xr

from lvlmscope.attention.functional_head_rule import HeadRule, head_ratio, preset_named, rule_by_share
from lvlmscope.attention.option_checks import require_kind
from lvlmscope.diagnostics.sinks import Sinks, image_rows, sinks_name
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import OneStep, at_step, decoder_depth
from lvlmscope.traces.trace import Trace

__all__ = ["functional_heads"]


@checked
@task("class heads by function")
def functional_heads(
    trace: Trace,
    *,
    preset: str | None = None,
    rule: HeadRule | None = None,
    share: float = 0.064,
    perception_until: float = 0.26,
    reasoning_from: float = 0.11,
    step: OneStep = 0,
    sinks: Sinks = "keep",
) -> xr.DataArray:
    """The function of each head, by its layer and visual attention ratio: perception, reasoning, or other.

    Perception: `l <= l_perc and S_v >= tau_perc`; reasoning: `l >= l_reas and S_v <= tau_reas`. Layers and thresholds
    are a preset of the paper, a rule of your own, or, for any model, found by relative depth and a share of the heads
    (`lvlmscope.attention.functional_head_rule.rule_by_share`).

    The names are the paper's: attention on the image, or away from it, is all that is measured. By share, the classes
    have about the same size in every trace, so their number says nothing; who is in them does. A preset's thresholds
    hold for its model and prompts of like length: `S_v` is raw mass. A layer that does not see the image, as its window
    lies past it, has neither kind: there `S_v` is 0 whatever the head does.

    Args:
        trace: A trace with image keys.
        preset: `"Kimi-VL-A3B-Thinking"`, `"Ocean-R1-7B"` or `"R1-Onevision-7B"`.
        rule: Layers and thresholds instead of a preset.
        share: Share of all heads to class when neither is given; 0.064 is the paper's best, half for each class.
        perception_until: Depth up to which heads may perceive, with `share`.
        reasoning_from: Depth from which heads may reason, with `share`.
        step: As in `visual_attention_ratio`; 0 is the last prompt token.
        sinks: As in `visual_attention_ratio`.

    Returns:
        Dims (layer, head), texts `"perception"`, `"reasoning"`, `"other"`; attrs hold the rule and the share found.

    Raises:
        ModelInputError: No image keys, preset and rule together, one of a deeper model, or heads too alike to class.

    Reference:
        arXiv 2510.10285, eq. 7-9; boundaries by relative depth and halves of the share are our choice.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> rule = HeadRule(l_perc=0, tau_perc=0.2, l_reas=0, tau_reas=0.1)
    >>> functional_heads(planted_trace(mass=0.25), rule=rule).values[:, 0].tolist()
    ['perception', 'other']
    """
    ratio = at_step(trace, head_ratio(image_rows(trace, sinks)), step)
    depth = decoder_depth(trace)
    if preset is not None and rule is not None:
        raise ModelInputError(message("preset and rule", "one of them", "leave one out"))
    if rule is not None:
        require_kind("rule", rule, HeadRule, "a HeadRule (lvlmscope.attention.functional_head_rule)")
    if preset is not None:
        rule = preset_named(preset).rule
    if rule is None:
        options = {"share": share, "perception_until": perception_until, "reasoning_from": reasoning_from}
        rule = rule_by_share(ratio, trace.layer_indices, **options)
    if max(rule.l_perc, rule.l_reas) >= depth:
        got = f"l_perc {rule.l_perc} and l_reas {rule.l_reas} for {depth} layers"
        raise ModelInputError(message(got, f"layers 0 to {depth - 1}", "choose heads by share"))
    perception, reasoning = rule.masks(ratio, torch.tensor(trace.layer_indices).unsqueeze(-1))
    found = labelled_array(
        trace,
        perception | reasoning,
        ("layer", "head"),
        long_name="head function",
        units="class",
        bounds=None,
        reference="arXiv 2510.10285 eq. 7-9",
        step=step,
        sinks=sinks_name(sinks),
        share=float((perception | reasoning).float().mean()),
        **asdict(rule),
    )
    classes = np.where(perception.numpy(), "perception", np.where(reasoning.numpy(), "reasoning", "other"))
    return found.copy(data=classes)
