"""Logit lens on image tokens: the words that their hidden states unembed to."""

from typing import Any, Final

import numpy as np
import torch
import xarray as xr

from lvlmscope.capture.inputs_from_trace import rerun_inputs
from lvlmscope.errors import task
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.loaded_model import find_processor
from lvlmscope.models.unembedding import Unembedding, bare_and_family, unembeddings_of, verified_unembedding
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.labelled_arrays import coordinates
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["internal_confidence", "patch_lens"]

_REFERENCE: Final = "arXiv 2410.02762"
_PATCH_REFERENCE: Final = "arXiv 2410.07149, our reading"


@signal(name="internal_confidence", kind="lens", suspicious="low", needs=("model",))
@torch.no_grad()
@task("measure internal confidence")
def internal_confidence(trace: Trace, model: Any, *, processor: Any = None) -> xr.DataArray:
    """Greatest log-probability that any image token gives to each answer token through the logit lens, in nats.

    `c[l,t] = max_{j in V} ln softmax(W_U norm(x[l,j]))[token_t]` with `x[l,j]` the stream at image position j after
    layer l (layer -1: as the projector hands it over), `norm` the model's final norm and `W_U` its unembedding. A true
    object is often spelled out by some patch; what only the text suggests is not. Attention plays no part in it.

    It is read at an answer token, so that a word of several tokens is judged by each apart. Models whose patches were
    trained towards words, as the bundled one's, show it far more clearly than others; early layers of large models
    spell little. It needs the model: one more forward over the prompt, plain whatever interventions made the trace.

    Args:
        trace: A trace that holds its images and prompt.
        model: The model that made it.
        processor: Its processor, when it cannot be found from the model's name.

    Returns:
        Dims (layer, step), layers -1 to L-1, nats, at most 0.

    Raises:
        ModelInputError: No images in the trace, or a model whose prompt has other tokens.
        UnsupportedModelError: The model's unembedding is more than its final norm, output matrix, scale and cap.

    Reference:
        Jiang et al., arXiv 2410.02762, section 3 (internal confidence; there the maximum over layers too).

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)  # a handbag, no zebra
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer=" handbag zebra", progress=False)
    >>> found = internal_confidence(trace, model).max("layer")
    >>> bool(found[0] > found[-1])
    True
    """
    require_trace(trace)
    streams, unembed = _image_streams(trace, model, processor, reading="read internal confidence")
    rows = [_best(unembed, stream, trace.answer_ids) for stream in streams]
    attrs = {"long_name": "internal confidence", "units": "nats", "bounds": (None, 0.0), "reference": _REFERENCE}
    coords = {"layer": np.arange(-1, len(rows) - 1), **coordinates(trace, "step")}
    return xr.DataArray(
        torch.stack(rows).numpy(),
        dims=("layer", "step"),
        coords=coords,
        name="internal_confidence",
        attrs=storable(attrs),
    )


@torch.no_grad()
@task("read what image tokens spell")
def patch_lens(trace: Trace, model: Any, *, processor: Any = None) -> xr.Dataset:
    """The token that each image token spells after each layer through the logit lens, and its log-probability in nats.

    With `z[l,j] = W_U norm(x[l,j])`, `x[l,j]` the stream at image position j after layer l (layer -1: as the projector
    hands it over): `top_id[l,j] = argmax z[l,j]`, `log_prob[l,j] = max ln softmax(z[l,j])`.

    In late layers a patch often spells the object that it lies on, or the next word of a text. Early layers of large
    models spell little that can be read, and what a patch spells need not be what the answer takes from it. It needs
    the model: one more forward over the prompt, plain whatever interventions made the trace.

    Args:
        trace: A trace that holds its images and prompt.
        model: The model that made it.
        processor: Its processor, when it cannot be found from the model's name.

    Returns:
        `top_id` and `log_prob` with dims (layer, key), layers -1 to L-1, the keys of image tokens.

    Raises:
        ModelInputError: No images in the trace, or a model whose prompt has other tokens.
        UnsupportedModelError: The model's unembedding is more than its final norm, output matrix, scale and cap.

    Reference:
        Neo et al., arXiv 2410.07149, our reading; nostalgebraist 2020, interpreting GPT: the logit lens.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)  # a handbag
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer=" handbag", progress=False)
    >>> bool((patch_lens(trace, model)["top_id"] == int(trace.answer_ids[0])).any())
    True
    """
    require_trace(trace)
    streams, unembed = _image_streams(trace, model, processor, reading="read what image tokens spell")
    best = [_first_choice(unembed, stream) for stream in streams]
    ids, log_probs = (torch.stack(part).numpy() for part in zip(*best, strict=True))
    keys = trace.image_keys.nonzero().flatten().numpy()
    attrs = {"reference": _PATCH_REFERENCE}
    token = storable({"long_name": "token that is spelled", "units": "token id", "bounds": None} | attrs)
    nats = storable({"long_name": "log-probability", "units": "nats", "bounds": (None, 0.0)} | attrs)
    return xr.Dataset(
        {"top_id": (("layer", "key"), ids, token), "log_prob": (("layer", "key"), log_probs, nats)},
        coords={"layer": np.arange(-1, len(ids) - 1), "key": keys},
        attrs={"prompt": trace.prompt, "answer": trace.answer},
    )


def _image_streams(trace: Trace, model: Any, processor: Any, *, reading: str) -> tuple[list[torch.Tensor], Unembedding]:
    """The stream at image tokens, before the first layer and after each ``[image token, hidden]``; its unembedding."""
    bare, family = bare_and_family(model)
    require_one_stream(bare, family, task=reading)
    ways = unembeddings_of(bare, family)
    inputs, image = rerun_inputs(trace, bare, family, processor=find_processor(model, processor))
    streams: list[torch.Tensor] = []

    def keep(_: int, stream: torch.Tensor) -> None:
        streams.append(stream[0])

    hooks = HiddenHooks(family.decoder_layers(bare), keep)
    hooks.set(True)
    try:
        logits = bare(**inputs).logits[0, -1]
    finally:
        hooks.set(False)
    own = logits.float().log_softmax(-1).topk(5)
    unembed = verified_unembedding(ways, states=streams[-1][-1:], ids=own.indices[None], log_probs=own.values[None])
    return [stream[image.to(stream.device)] for stream in streams], unembed


def _first_choice(unembed: Unembedding, stream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The most probable token of each state, and its log-probability; ``[image token]``."""
    found = [logs.max(-1) for _, logs in unembed.in_parts(stream)]
    return torch.cat([each.indices.cpu() for each in found]), torch.cat([each.values.cpu() for each in found])


def _best(unembed: Unembedding, stream: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Greatest log-probability of each answer token over the states."""
    return torch.stack([logs[:, answer.to(logs.device)].amax(0) for _, logs in unembed.in_parts(stream)]).amax(0).cpu()
