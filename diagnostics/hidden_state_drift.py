"""How far each layer moves the hidden state of each predicting row."""

from typing import Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import required_part
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["representation_drift"]


@signal(
    name="relative_drift",
    kind="hidden",
    suspicious="high",
    needs=("hidden_states",),
    positional=True,
    stepwise=True,
    description="Length of each layer's update relative to the hidden state before it.",
    options={"measure": "relative"},
)
@signal(
    name="cosine_drift",
    kind="hidden",
    suspicious="high",
    needs=("hidden_states",),
    positional=True,
    stepwise=True,
    description="Cosine distance between the hidden states of consecutive layers, in [0, 2].",
)
@checked
@task("measure representation drift")
def representation_drift(trace: Trace, *, measure: Literal["cosine", "relative"] = "cosine") -> xr.DataArray:
    """Drift of the hidden state from one layer to the next, as a cosine distance in [0, 2] or a relative step.

    With `x[l,t]` the stream after layer `l` at the predicting row of token `t`, and `x[-1,t]` the embedding:
    `"cosine"`: `1 - cos(x[l,t], x[l-1,t])`; `"relative"`: `|x[l,t] - x[l-1,t]| / |x[l-1,t]|`. This is the quantity that
    HalluRNN sets out to reduce; that paper's own measure was not public.

    The first layer nearly always moves the embedding far, and a stream that grows in length moves less and less in
    relative terms: compare tokens at one layer rather than layers at one token. A few massive dimensions can carry most
    of both measures.

    Args:
        trace: A trace made with `hidden_states=True`.
        measure: As above.

    Returns:
        Dims (layer, step); all decoder layers, also those without attention rows. NaN where a state is all 0.

    Raises:
        ModelInputError: A trace without hidden states, or an unknown measure.

    Reference:
        arXiv 2506.17587, our reading.

    >>> import math
    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> representation_drift(planted_trace(turn=math.pi / 2))[0, 0].item()
    1.0
    """
    hidden = at_least_float32(required_part(trace, "hidden_states"))
    before, after = hidden[:, :-1].double(), hidden[:, 1:].double()
    if measure == "cosine":
        cosine = (before * after).sum(-1) / (before.norm(dim=-1) * after.norm(dim=-1))  # 0 / 0: NaN
        values = 1 - cosine.clamp(-1, 1)
    else:
        length = before.norm(dim=-1)
        values = torch.where(length > 0, (after - before).norm(dim=-1) / length, float("nan"))
    return labelled_array(
        trace,
        values.permute(1, 0),
        ("layer", "step"),
        coords={"layer": np.arange(hidden.shape[1] - 1)},
        long_name=f"{measure} drift",
        units="1",
        bounds=(0.0, 2.0 if measure == "cosine" else None),
        reference="arXiv 2506.17587, our reading",
        measure=measure,
    )
