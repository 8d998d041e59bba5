"""Traces with random attention, gradients and hidden states."""

import dataclasses

import torch

from lvlmscope.diagnostics import planted_trace
from lvlmscope.traces.token_layout import Layout
from lvlmscope.traces.trace import Trace


def random_trace(seed: int, *, steps: int = 3, layers: int = 3, heads: int = 5, side: int = 3) -> Trace:
    """Random rows that each sum to 1 over the keys they may see."""
    trace = planted_trace(steps=steps, layers=layers, heads=heads, side=side)
    visible = (trace.attention > 0).double()
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(trace.attention.shape, generator=generator).double() ** 3 * visible
    weights = weights / weights.sum(-1, keepdim=True)
    scores = weights.where(trace.image_keys, 1.0).log().sum(-1)
    gradient = torch.randn(weights.shape, generator=generator) * visible
    return dataclasses.replace(
        trace,
        attention=weights.float(),
        image_scores=scores.float(),
        gradient=gradient.float(),
        hidden_states=torch.randn(steps, layers + 1, 6, generator=generator),
    )


def as_lists(trace: Trace) -> tuple[list, list]:
    return trace.attention.double().tolist(), trace.image_keys.tolist()


def blind(trace: Trace) -> Trace:
    """The same without an image: its keys are the question's."""
    kinds = tuple("question" if kind == "image" else kind for kind in trace.layout.kinds)
    return dataclasses.replace(trace, layout=Layout(kinds=kinds))
