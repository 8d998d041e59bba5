"""How sure the model was of each token: the bar that every other signal has to pass."""

import numpy as np
import torch
import xarray as xr

from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["confidence"]


@signal(
    name="margin",
    kind="confidence",
    suspicious="low",
    description="Gap between the two highest log-probabilities, in nats.",
    part={"measure": "margin"},
    positional=True,
    stepwise=True,
)
@signal(
    name="entropy",
    kind="confidence",
    suspicious="high",
    description="Entropy of the next-token distribution, in nats.",
    part={"measure": "entropy"},
    positional=True,
    stepwise=True,
)
@signal(
    name="log_prob",
    kind="confidence",
    suspicious="low",
    description="Log-probability of the token written, in nats.",
    part={"measure": "log_probability"},
    positional=True,
    stepwise=True,
)
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
    require_trace(trace)
    return labelled_array(
        trace,
        torch.stack([trace.log_probs, trace.entropy, trace.margin]),
        ("measure", "step"),
        coords={"measure": np.array(["log_probability", "entropy", "margin"], dtype=object)},
        long_name="confidence",
        units="nats",
        bounds=None,
        reference="the model's own distribution",
    )


@signal(name="position", kind="baseline", suspicious="high", positional=True)
def _position(trace: Trace) -> xr.DataArray:
    """Position in the answer, in tokens: late words are hallucinated more often."""
    steps = torch.arange(trace.num_steps)
    long_name = "position in the answer"
    return labelled_array(trace, steps, ("step",), long_name=long_name, units="tokens", bounds=None, reference="none")
