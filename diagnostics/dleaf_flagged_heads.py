"""Layers and heads that D-LEAF's rule flags, read from a trace instead of inside the model."""

import torch
import xarray as xr

from lvlmscope.attention.entropy_threshold_rule import EntropyRule, RunningThreshold, heads_to_edit
from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import chosen_layers, require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["flagged_heads"]


@task("flag heads")
def flagged_heads(trace: Trace, rule: EntropyRule | None = None) -> xr.DataArray:
    """Heads that D-LEAF's own rule would edit at each generated token: 1 or 0.

    The intervention's walk over the layers that the trace holds, on the attention as it is there: an intervention that
    edits earlier layers changes what later ones see, so that with its strength above 0 it may flag others.

    Args:
        trace: A trace with image keys.
        rule: Whose threshold, layers and choice of heads count; the strength does not. None for `EntropyRule()`;
            that of an intervention is `DLEAF(...).rule`.

    Returns:
        Dims (layer, head, step). A layer is flagged where any of its heads is.

    Raises:
        EvaluationError: No image keys.
        ModelInputError: No trace, or no rule.

    Reference:
        arXiv 2509.07864, our reading.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> int(flagged_heads(planted_trace()).sum())
    0
    """
    if not bool(require_trace(trace).image_keys.any()):
        got, fix = "a trace without image keys", "trace a prompt with an image"
        raise EvaluationError(message(got, "traces of an image", fix))
    rule = EntropyRule() if rule is None else rule
    require_kind("rule", rule, EntropyRule, "an EntropyRule (DLEAF(...).rule is one)")
    rows = trace.rows()
    level = RunningThreshold(rule.threshold)
    flags = torch.zeros(rows.image_mass.shape, dtype=torch.bool)
    for place in chosen_layers(trace, rule.layers):
        flagged = level.flag(rows.layer_image_entropy[:, place])
        flags[:, place] = heads_to_edit(rows.image_mass[:, place], rule.heads) & flagged.unsqueeze(-1)
    return labelled_array(
        trace,
        flags.permute(1, 2, 0),
        ("layer", "head", "step"),
        long_name="flagged heads",
        units="1",
        bounds=(0.0, 1.0),
        reference="arXiv 2509.07864, our reading",
        threshold=rule.threshold,
    )
