"""Activation patching: which activations of an image restore a word when the model is run on another image."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope.attribution.answer_scorer import AnswerScorer, answer_scorer_of
from lvlmscope.attribution.word_scores import Words, chosen_words, word_coordinates, word_scores
from lvlmscope.causal.activation_patch import ActivationPatch, Site
from lvlmscope.causal.batches import in_batches
from lvlmscope.causal.forward_positions import ForwardPositions
from lvlmscope.causal.model_access import editing_streams, handling_attention
from lvlmscope.causal.positions import Keys, described, keys_named
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.inputs.preparation import check_inputs, prepare
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.image_identity import read_images
from lvlmscope.traces.requirements import require_all_keys
from lvlmscope.traces.trace import Trace

__all__ = ["patch"]

_STREAM: Final = ("image", "question", "answer")
_HEADS: Final = ("all",)


@checked
@task("patch activations")
def patch(
    model: Any,
    clean: Trace,
    corrupted: Any,
    *,
    words: Words = None,
    part: Literal["stream", "heads"] = "stream",
    at: Any = None,
    smallest_gap: Annotated[float, Range(gt=0)] = 0.1,
    image_index: int = 0,
    batch_size: Annotated[int, Range(ge=1)] = 8,
    processor: Any = None,
    inputs: Any = None,
) -> xr.DataArray:
    """Share of a word's log-probability that activations of the clean run recover under another image.

    With `s_w = sum_{t in w} ln p(token_t | image, tokens before)`, `s'_w` the same under the corrupted image, and
    `s'_w(p)` under it with the activations at p those of the clean run: `R[p,w] = (s'_w(p) - s'_w) / (s_w - s'_w)`. At
    1 the word is as probable as with the clean image, at 0 as with the corrupted one; a share may lie outside. NaN
    where `|s_w - s'_w|` is below `smallest_gap`: the images do not differ for that word.

    The answer is the clean trace's in both runs. A high share says that these activations are enough, not that they are
    needed; shares of several places do not add up. A patched stream carries all that came before it: after the last
    layers it is high wherever the word is predicted.

    Args:
        model: The model that made the trace.
        clean: A trace that holds its images, made without interventions.
        corrupted: An image of the same size to show instead, a list where the prompt has several, or prepared inputs.
            `lvlmscope.tiny.scene(..., without=...)` makes exact pairs.
        words: A word of the answer, a step's number, several of them, or None for all words.
        part: `"stream"`, the residual stream before the first layer (-1) and after each; `"heads"`, each head's output
            before the output projection.
        at: Where it is patched: names of kinds of token (`"image"`, `"question"`, `"system"`, `"answer"`, `"all"`), or
            by a name of your own a kind, a box of the image as a tuple, or positions in a list. None for image,
            question and answer of the stream, and all positions of heads.
        smallest_gap: Nats that the word must differ between both images.
        image_index: The image of a box.
        batch_size: Patched answers that are run at once.
        processor: The model's processor, when it cannot be found from the model's name.
        inputs: Prepared inputs, where the trace was made from such; `corrupted` is then prepared, too.

    Returns:
        Dims (layer, at, word), for heads (layer, head, at, word), a share; coordinates `first_step`, `last_step`,
        `score` and `corrupted_score` of each word in nats. `lvlmscope.plot.heatmap` draws heads,
        `lvlmscope.plot.layers` the stream.

    Raises:
        ModelInputError: Interventions that are on, a trace of some keys only or without its images, a corrupted prompt
            of other tokens, or no such word, position or image.
        UnsupportedModelError: The model's image keys lie outside the decoder's sequence, or its residual stream is
            several.
        GeometryError: A box where the geometry of the image is not known.
        ReplayError: The model does not give the trace's answer its log-probabilities.

    Reference:
        Meng et al. 2022, arXiv 2202.05262, causal tracing; Zhang and Nanda 2023, arXiv 2309.16042, on the choice of
        counterfactuals and metrics. Log-probability of the word and no noise: our choice.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model = lv.load("tiny")
    >>> trace = lv.trace(model, scene("prior", 0).image, "Describe the image.", answer="A handbag", progress=False)
    >>> found = patch(model, trace, scene("prior", 0, without="handbag").image, words="handbag", at=["image"])
    >>> found.sel(layer=-1).round(3).item()  # all that differs before the first layer
    1.0
    """
    require_all_keys(clean)
    chosen = chosen_words(clean, words)
    places = _places(clean, at if at is not None else _STREAM if part == "stream" else _HEADS, image_index)
    scorer = answer_scorer_of(clean, model, processor=processor, inputs=inputs)
    other = _other_inputs(scorer, corrupted)
    layers = [-1, *range(len(scorer.family.decoder_layers(scorer.model)))] if part == "stream" else clean.layer_indices
    heads = [None] if part == "stream" else list(range(clean.num_heads))
    sites = [
        Site(layer=layer, head=head, positions=positions)
        for layer in layers
        for head in heads
        for positions in places.values()
    ]
    found = word_scores(_log_probs(scorer, other, sites, part, batch_size), chosen)
    whole, corrupt, patched = found[0], found[1], found[2:]
    gap = torch.where((whole - corrupt).abs() < smallest_gap, math.nan, whole - corrupt)
    share = ((patched - corrupt) / gap).view(len(layers), len(heads), len(places), len(chosen))
    axes: dict[str, Any] = {
        "layer": np.array(layers),
        "head": np.arange(len(heads)),
        "at": np.array(list(places), object),
    }
    scores = {"score": ("word", whole.numpy()), "corrupted_score": ("word", corrupt.numpy())}
    array = xr.DataArray(
        share.numpy(),
        dims=(*axes, "word"),
        coords=axes | word_coordinates(chosen) | scores,
        name="patch",
        attrs=_attrs(),
    )
    return array if part == "heads" else array.isel(head=0, drop=True)


def _attrs() -> dict[str, Any]:
    return storable(
        {
            "long_name": "share of the log-probability recovered",
            "units": "1",
            "bounds": None,
            "reference": "arXiv 2202.05262",
        }
    )


def _places(trace: Trace, at: Any, image_index: int) -> dict[str, torch.Tensor]:
    """Positions by name."""
    at = [at] if isinstance(at, str) else at
    named: dict[str, Keys]
    if isinstance(at, Mapping):
        named = {str(name): keys for name, keys in at.items()}
    elif isinstance(at, Sequence) and at and all(isinstance(one, str) for one in at):
        named = {one: one for one in at}
    else:
        got, fix = f"at={described(at)}", "pass names, or a mapping from names to positions"
        raise ModelInputError(message(got, "kinds of token, or positions by name", fix))
    return {name: keys_named(trace, keys, image_index, name="at") for name, keys in named.items()}


def _other_inputs(scorer: AnswerScorer, corrupted: Any) -> dict[str, Any]:
    """Inputs of the same prompt with other images."""
    if isinstance(corrupted, Mapping):
        found = check_inputs(corrupted)
    elif scorer.processor is None or not scorer.trace.images:
        got, fix = "an image to show instead", "pass the corrupted prompt's prepared inputs"
        raise ModelInputError(message(got, "prepared inputs, as the trace was made from such", fix))
    else:
        images = read_images(corrupted)
        found = dict(prepare(list(images), scorer.trace.prompt, scorer.processor, scorer.family).inputs)
    ids = scorer.inputs["input_ids"].cpu()
    if not torch.equal(found["input_ids"].cpu(), ids):
        got = f"a corrupted prompt of {found['input_ids'].shape[-1]} tokens"
        expected = f"the trace's {ids.shape[-1]}, the same"
        raise ModelInputError(message(got, expected, "show images of the same sizes under the same prompt"))
    return {
        name: value.to(scorer.inputs[name].device, scorer.inputs[name].dtype)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in found.items()
    }


@torch.no_grad()
def _log_probs(
    scorer: AnswerScorer, other: dict[str, Any], sites: Sequence[Site], part: str, batch_size: int
) -> torch.Tensor:
    """Of the answer's tokens: under the clean image, under the other, and patched at each site `[2 + site, step]`."""
    first_end = scorer.trace.num_prompt_keys if scorer.stepwise else len(scorer.trace.tokens)
    act = ActivationPatch(ForwardPositions(first_end))
    every: list[Site | None] = [None, *sites]
    together = 1 if scorer.stepwise else min(batch_size, len(every))
    clean, run = scorer.repeated(1), scorer.repeated(together, inputs=other)
    handled = (
        editing_streams(scorer.model, scorer.family, act.stream)
        if part == "stream"
        else handling_attention(scorer.model, scorer.family, act.heads)
    )
    with handled:
        own = clean()
        scorer.confirm(own)
        return torch.cat([own, in_batches(every, together, act.begin, run)])
