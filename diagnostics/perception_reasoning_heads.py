"""Perception and reasoning heads of a trace."""

from dataclasses import asdict
from typing import Literal

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

__all__ = ["functional_head_share", "functional_heads"]


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
    options = {"share": share, "perception_until": perception_until, "reasoning_from": reasoning_from}
    chosen = _named(preset, rule) or rule_by_share(ratio, trace.layer_indices, **options)
    _require_depth(trace, chosen)
    perception, reasoning = chosen.masks(ratio, torch.tensor(trace.layer_indices).unsqueeze(-1))
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
        **asdict(chosen),
    )
    classes = np.where(perception.numpy(), "perception", np.where(reasoning.numpy(), "reasoning", "other"))
    return found.copy(data=classes)


@checked
@task("measure the share of functional heads")
def functional_head_share(
    trace: Trace,
    of: Literal["perception", "reasoning"] = "perception",
    *,
    preset: str | None = None,
    rule: HeadRule | None = None,
    share: float = 0.064,
    perception_until: float = 0.26,
    reasoning_from: float = 0.11,
    sinks: Sinks = "keep",
) -> xr.DataArray:
    """Share of each layer's heads that perceive, or that reason, at each generated token.

    The rule of `functional_heads` for each predicting row. By share, thresholds are those that class so many of the
    heads of all rows together: the number in the whole answer is then given beforehand, and at which tokens they are is
    not. A preset's thresholds hold for its model.

    Args:
        trace: A trace with image keys.
        of: Which heads are counted.
        preset: As in `functional_heads`.
        rule: As in `functional_heads`.
        share: As in `functional_heads`, of the heads of all rows.
        perception_until: As in `functional_heads`.
        reasoning_from: As in `functional_heads`.
        sinks: As in `visual_attention_ratio`.

    Returns:
        Dims (layer, step), in [0, 1]; NaN in layers that cannot hold such heads, or do not see the image.

    Raises:
        ModelInputError: As for `functional_heads`.

    Reference:
        arXiv 2510.10285, eq. 7-9; that heads are classed anew at each token is our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> rule = HeadRule(l_perc=0, tau_perc=0.2, l_reas=0, tau_reas=0.1)
    >>> functional_head_share(planted_trace(mass=0.25, steps=1), rule=rule).values.tolist()
    [[1.0], [nan]]
    """
    ratio = head_ratio(image_rows(trace, sinks))
    options = {"share": share, "perception_until": perception_until, "reasoning_from": reasoning_from}
    every = trace.layer_indices * trace.num_steps
    chosen = _named(preset, rule) or rule_by_share(ratio.flatten(0, 1), every, **options)
    _require_depth(trace, chosen)
    layers = torch.tensor(trace.layer_indices)
    possible = layers <= chosen.l_perc if of == "perception" else layers >= chosen.l_reas
    found = getattr(chosen, of)(ratio).float().mean(-1)
    blind = ratio.isnan().all(-1) | ~possible
    return labelled_array(
        trace,
        found.masked_fill(blind, float("nan")).T,
        ("layer", "step"),
        long_name=f"share of {of} heads",
        units="1",
        bounds=(0.0, 1.0),
        reference="arXiv 2510.10285 eq. 7-9, our reading",
        sinks=sinks_name(sinks),
        **asdict(chosen),
    )


def _named(preset: str | None, rule: HeadRule | None) -> HeadRule | None:
    """The preset's rule, or the given one; None for neither."""
    if preset is not None and rule is not None:
        raise ModelInputError(message("preset and rule", "one of them", "leave one out"))
    if rule is not None:
        require_kind("rule", rule, HeadRule, "a HeadRule (lvlmscope.attention.functional_head_rule)")
    return rule if preset is None else preset_named(preset).rule


def _require_depth(trace: Trace, rule: HeadRule) -> None:
    depth = decoder_depth(trace)
    if max(rule.l_perc, rule.l_reas) >= depth:
        got = f"l_perc {rule.l_perc} and l_reas {rule.l_reas} for {depth} layers"
        raise ModelInputError(message(got, f"layers 0 to {depth - 1}", "choose heads by share"))
