"""At which layer each word of the answer was decided: its rank after every layer, through the logit lens."""

from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.models.unembedding import Unembedding, bare_and_family, unembeddings_of, verified_unembedding
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.labelled_arrays import coordinates
from lvlmscope.traces.requirements import required_part
from lvlmscope.traces.trace import Trace

__all__ = ["logit_lens"]

_REFERENCE: Final = "nostalgebraist 2020, interpreting GPT: the logit lens"


@torch.no_grad()
@task("look through the logit lens")
def logit_lens(trace: Trace, model: Any) -> xr.Dataset:
    """Rank and log-probability (nats) of each answer token after every layer, and the layer that commits to it.

    With `x[l,t]` the stream after layer l at the predicting row of token t (layer -1: the embedding), `norm` the
    model's final norm and `W_U` its unembedding: `z[l,t] = W_U norm(x[l,t])`,
    `log_prob[t,l] = ln softmax(z[l,t])[token_t]`, `rank[t,l]` = number of tokens with a greater `z[l,t]` (0: the layer
    would say this token itself), and `commit_layer[t] = min {l : rank[t,k] = 0 for all k >= l}`.

    A word that commits late, or only after the layers that look at the image most, was made differently from one that
    stands early. Early layers write in another basis than the last: a high rank there means *not yet readable*, not
    *not yet known*, the more so the larger the model. It says nothing of where the word comes from.

    The last layer's values are the model's own; where the lens does not give them, nothing is returned.

    Args:
        trace: A trace made with `hidden_states=True`.
        model: The model that made it: its final norm and output matrix are used, nothing is run again.

    Returns:
        `rank` and `log_prob` with dims (step, layer), layers -1 to L-1; `top_id` likewise, the token each layer would
        say; `commit_layer` with dim (step), NaN where the model's own first choice was another token.

    Raises:
        ModelInputError: A trace without hidden states, or states of another width than the model's.
        UnsupportedModelError: The last layer's lens is not what the model itself said.

    Reference:
        nostalgebraist, "interpreting GPT: the logit lens", 2020; Belrose et al., arXiv 2303.08112, on when it misleads.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model = lv.load("tiny")
    >>> trace = lv.trace(model, scene("neutral", 0).image, "Describe the image.", max_new_tokens=3, hidden_states=True)
    >>> found = lv.logit_lens(trace, model)
    >>> found["rank"].sel(layer=7).values.tolist()
    [0.0, 0.0, 0.0]
    """
    hidden = required_part(trace, "hidden_states")
    bare, family = bare_and_family(model)
    width = family.text_config(bare).hidden_size
    if width != hidden.shape[-1]:
        got, expected = f"states of width {hidden.shape[-1]}", f"those of {type(bare).__name__}, {width} wide"
        raise ModelInputError(message(got, expected, "give the model that made the trace"))
    unembed = verified_unembedding(
        unembeddings_of(bare, family),
        states=hidden[:, -1],
        ids=trace.top_ids,
        log_probs=trace.top_log_probs,
    )
    rank, log_prob, top = _read(unembed, hidden.flatten(0, 1), trace.answer_ids.repeat_interleave(hidden.shape[1]))
    layers = np.arange(-1, hidden.shape[1] - 1)
    grid = {name: part.view(hidden.shape[:2]).numpy() for name, part in (("rank", rank), ("top", top))}
    axes = ("step", "layer")
    return xr.Dataset(
        {
            "rank": (axes, grid["rank"], _attrs("rank of the token", "1", (0.0, None))),
            "log_prob": (axes, log_prob.view(hidden.shape[:2]).numpy(), _attrs("log-probability", "nats", (None, 0.0))),
            "top_id": (axes, grid["top"], _attrs("token of the layer", "token id", None)),
            "commit_layer": (
                "step",
                _committed(grid["rank"], layers),
                _attrs("layer of commitment", "1", (-1.0, None)),
            ),
        },
        coords={"layer": layers, **coordinates(trace, "step")},
        attrs={"prompt": trace.prompt, "answer": trace.answer},
    )


def _attrs(long_name: str, units: str, bounds: tuple[float | None, float | None] | None) -> dict[str, Any]:
    return storable({"long_name": long_name, "units": units, "bounds": bounds, "reference": _REFERENCE})


def _read(
    unembed: Unembedding, states: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rank and log-probability of one token for each state, and the token each state spells; `[row]`."""
    ranks, log_probs, tops = [], [], []
    for rows, logs in unembed.in_parts(states):
        own = logs.gather(-1, tokens[rows, None].to(logs.device))
        rank = (logs > own).sum(-1).float()
        ranks.append(torch.where(own[:, 0].isnan(), float("nan"), rank).cpu())  # nothing is greater than NaN
        log_probs.append(own[:, 0].cpu())
        tops.append(logs.argmax(-1).cpu())
    return torch.cat(ranks), torch.cat(log_probs), torch.cat(tops)


def _committed(rank: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """The first layer from which on the token stays first `[step]`, NaN where it is not first in the end."""
    stays = np.logical_and.accumulate((rank == 0)[:, ::-1], axis=1)[:, ::-1]
    found: np.ndarray = np.where(stays[:, -1], layers[stays.argmax(1)], np.nan).astype(np.float32)
    return found
