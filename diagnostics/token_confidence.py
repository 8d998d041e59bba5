"""How sure the model was of each token: the bar that every other signal has to pass."""

import numpy as np
import torch
import xarray as xr

from lvlmscope.traces.labelled_arrays import labelled
from lvlmscope.traces.trace import Trace

__all__ = ["confidence"]


def confidence(trace: Trace) -> xr.DataArray:
    """Log-probability, entropy and margin of each generated token, in nats.

    `log_probability[t] = ln p(token_t | before)`; `entropy[t] = - sum_v p ln p` of the whole next-token distribution;
    `margin[t]` the gap between the two highest log-probabilities. All are of the model's own distribution, before
    temperature and other sampling settings. Models are often sure of hallucinated words, and unsure of words that have
    synonyms: the numbers tell about the choice of a word, not about the image.

    Args:
        trace: Any trace.

    Returns:
        Dims (measure, step), measures `"log_probability"`, `"entropy"`, `"margin"`.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> confidence(planted_trace()).sel(measure="log_probability").values.tolist()
    [-0.5, -0.5, -0.5]
    """
    return labelled(
        trace,
        torch.stack([trace.log_probs, trace.entropy, trace.margin]),
        ("measure", "step"),
        coords={"measure": np.array(["log_probability", "entropy", "margin"], dtype=object)},
        long_name="confidence",
        units="nats",
        bounds=None,
        reference="the model's own distribution",
    )
