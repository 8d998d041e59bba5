"""What a signal would be if every head looked at everything alike."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import xarray as xr

from lvlmscope.attention.option_checks import require_function
from lvlmscope.diagnostics.sinks import attention_sinks
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.requirements import require_all_keys
from lvlmscope.traces.sink_keys import seen_keys
from lvlmscope.traces.trace import Trace

__all__ = ["uniform_baseline"]


@checked
@task("compute a uniform baseline")
def uniform_baseline(trace: Trace, signal: Callable[..., xr.DataArray], **options: Any) -> xr.DataArray:
    """A signal's value under uniform attention, in the signal's own unit.

    The signal is computed from the same trace with `a[l,h,t,j] = 1 / visible[l,t]` on the keys that row `t` may see. An
    image share of 0.8 says little where 0.8 of the keys are of the image. Gradients and hidden states stay:
    `saliency` then shows the gradient alone. Pre-softmax scores are set to 0. With `sinks="exclude"` the sinks of the
    trace as it is are left out, since uniform attention has none.

    A key counts as seen by a layer's row where at least one head gives it weight, so that windows are followed; a head
    with weights of exactly 0 is not told apart from a mask.

    Args:
        trace: A trace of all keys.
        signal: Any signal, such as `lvlmscope.visual_attention_ratio`.
        **options: Its options.

    Returns:
        The signal's array; attrs say `attention="uniform"`. Correlations are NaN: uniform maps have no shape.

    Raises:
        ModelInputError: A trace that kept some keys only, or what the signal refuses.

    >>> from lvlmscope.diagnostics import planted_trace, visual_attention_ratio
    >>> uniform_baseline(planted_trace(side=3), visual_attention_ratio)[0, 0].item()  # 9 of 11 keys
    0.818
    """
    require_all_keys(trace)
    require_function("signal", signal, "a signal's function, such as lvlmscope.visual_attention_ratio", alone=False)
    if isinstance(options.get("sinks"), str) and options["sinks"] == "exclude":
        options["sinks"] = attention_sinks(trace)
    seen = seen_keys(trace).unsqueeze(2).float()
    uniform = (seen / seen.sum(-1, keepdim=True)).expand(trace.attention.shape)
    scores = None if trace.image_scores is None else torch.zeros_like(trace.image_scores)
    plain = dataclasses.replace(trace, attention=uniform, image_scores=scores)
    return signal(plain, **options).assign_attrs(attention="uniform")
