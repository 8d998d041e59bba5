"""Sessions started by hand, and traces under an intervention."""

from typing import Any

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.runtime.protocol import ForwardInfo, Intervention, ModelInfo, Session
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.traced import from_inputs

STEPS = 4
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
IMAGE = torch.tensor([[False, True, True, False]])


def traced(case: tiny_models.TinyCase, intervention: Intervention, **options: Any) -> Trace:
    found = from_inputs(case.model, case.inputs, interventions=[intervention], **(OPTIONS | options))
    assert isinstance(found, Trace)
    return found


def session(intervention: Intervention, layers: int, *, prompt_length: int = 4) -> Session:
    """A session in a forward of four keys, of which 1 and 2 are the image and the last row predicts."""
    layer = torch.nn.Linear(1, 1)
    started = intervention.start(
        ModelInfo(
            model=layer,
            decoder_layers=(layer,) * layers,
            num_layers=layers,
            num_heads=3,
            hidden_size=1,
            family="hand-made",
        )
    )
    started.begin_forward(
        ForwardInfo(
            token_ids=torch.zeros(1, 4, dtype=torch.int64),
            image_keys=IMAGE,
            prompt_length=prompt_length,
            past_length=0,
            first_row=3,
            num_queries=4,
        )
    )
    return started


def layer_rows(layer: int, weights: list[list[float]], **keys: Any) -> AttentionRows:
    """One row's weights [head][key]."""
    return AttentionRows(torch.tensor([[weights]]), IMAGE[:, None], layer=layer, **keys)
