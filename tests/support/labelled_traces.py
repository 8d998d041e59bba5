"""Traces with object words of which some are hallucinated, told by their image attention or by nothing."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from lvlmscope.diagnostics import planted_trace
from lvlmscope.evaluation import LabelledWord, Vocabulary, label_words
from lvlmscope.traces.trace import Trace

WORDS = Vocabulary({"dog": ["word1"], "cat": ["word2"]})
LAYERS = 3


def made(count: int, *, seed: int = 0, focus: Callable[[bool], float] | None = None) -> list[Trace]:
    """Traces of 4 words; word1 is hallucinated in odd traces. `focus` gives its image mass in layer 1, else random."""
    rng = np.random.default_rng(seed)
    traces = []
    for number in range(count):
        trace = planted_trace(steps=4, layers=LAYERS, heads=2, side=2)
        mass = torch.from_numpy(rng.uniform(0.1, 0.9, (4, LAYERS, 1))).float()
        if focus is not None:
            mass[1, 1] = focus(number % 2 == 1)
        weights = trace.attention.clone()
        weights[..., trace.image_keys] = (mass / 4).unsqueeze(-1)
        weights[..., 0] = 1 - mass - weights[..., ~trace.image_keys][..., 1:].sum(-1)
        log_probs = torch.from_numpy(-rng.exponential(1.0, 4)).float()
        traces.append(dataclasses.replace(trace, attention=weights, log_probs=log_probs))
    return traces


def labels_of(traces: list[Trace]) -> list[tuple[LabelledWord, ...]]:
    """word1 is true in even traces and hallucinated in odd ones; word2 the other way round."""
    return [label_words(trace, {"cat" if n % 2 else "dog"}, WORDS) for n, trace in enumerate(traces)]
