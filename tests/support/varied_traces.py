"""Traces whose words differ, so that a page that shows the wrong one is seen."""

from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from lvlmscope import Trace
from lvlmscope.diagnostics import planted_trace


def varied_trace(*, seed: int = 0, gradients: bool = False, image: bool = True, **sizes: Any) -> Trace:
    """Every step, layer, head and patch has an attention of its own; probabilities differ from step to step."""
    trace = planted_trace(**({"steps": 4, "layers": 3, "heads": 4} | sizes))
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(trace.attention.shape, generator=generator) * (trace.attention > 0)
    attention = attention / attention.sum(-1, keepdim=True)
    steps = trace.num_steps
    log_probs = torch.linspace(-0.1, -2.0, steps)
    return replace(
        trace,
        attention=attention,
        gradient=torch.randn(attention.shape, generator=generator) if gradients else None,
        log_probs=log_probs,
        entropy=torch.linspace(0.2, 1.7, steps),
        margin=torch.linspace(2.0, 0.1, steps),
        top_ids=torch.stack([torch.tensor([n, 90, 91, 92, 93]) for n in range(steps)]),
        top_log_probs=torch.stack([torch.tensor([value, -3.0, -4.0, -5.0, -6.0]) for value in log_probs.tolist()]),
        top_tokens=tuple((word, " red", " blue", " green", "\n") for word in trace.answer_tokens),
        images=(Image.new("RGB", (56, 56), (200, 30, 30)),) if image else (),
    )


def words_and_pieces(trace: Trace, *pieces: str) -> Trace:
    """The trace with these answer tokens."""
    return replace(trace, answer_tokens=pieces, answer="".join(pieces))
