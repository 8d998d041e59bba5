"""Integrated gradients: each image token's share of what the image did for a word."""

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope.attribution.answer_scorer import AnswerScorer, answer_scorer_of
from lvlmscope.attribution.word_scores import Words, chosen_words, word_coordinates, word_scores
from lvlmscope.errors import ModelInputError, UnsupportedOptionError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["EmbeddingBaseline", "embedding_baseline", "integrated_gradients"]

EmbeddingBaseline = Literal["blank", "mean", "zero"] | torch.Tensor | None


@checked
@task("integrate gradients to the image embeddings")
def integrated_gradients(
    trace: Trace,
    model: Any,
    *,
    words: Words = None,
    n_steps: int = 32,
    baseline: EmbeddingBaseline = None,
    batch_size: int = 8,
    processor: Any = None,
    inputs: Any = None,
) -> xr.DataArray:
    """Share of each image token in what the image did for each word's log-probability, in nats.

    With `e` the embeddings that the decoder is handed at the image positions, `e'` a baseline and `s_w` the word's
    log-probability: `IG[w,j] = sum_d (e_jd - e'_jd) * int_0^1 d s_w(e' + a (e - e')) / d e_jd da`. Summed over j this
    is `s_w(e) - s_w(e')` (completeness), kept beside it as `difference`: where the sum is far from it, take more steps.
    By captum's `IntegratedGradients`, Gauss-Legendre quadrature. Attention plays no part in it as a quantity.

    The path runs through blends of embeddings that no image gives. A token's value says what its embedding did, and
    embeddings carry what the vision tower mixed into them: a patch of background may speak for the object beside it.
    Families that hand features to later layers as well (DeepStack in Qwen3-VL) keep those of the image.

    Args:
        trace: A trace of an image, made without interventions.
        model: The model that made it.
        words: A word of the answer, a step's number, several of them, or None for all words; each takes `n_steps`
            forward and backward passes.
        n_steps: Points on the path.
        baseline: `"blank"`, the embeddings of an image in the mean colour; `"mean"`, the mean of the image's
            embeddings at each position, which still tells a little of everything in the image; `"zero"`, near which
            the norms of the layers make the path jump, so that many more steps are needed; or a tensor
            `[image token, hidden]`. None: `"blank"` where the trace holds its images, else `"mean"`.
        batch_size: Points that are run at once.
        processor: The model's processor, when it cannot be found from the model's name.
        inputs: Prepared inputs, where the trace was made from such.

    Returns:
        Dims (word, key), the keys of image tokens, nats; coordinates `first_step`, `last_step`, `score` (with the
        image) and `difference` (to the baseline) of each word. `lvlmscope.plot.overlay` draws it.

    Raises:
        ModelInputError: A trace without image or images, interventions that are on, no such word, or a baseline or a
            number of steps that cannot be used.
        UnsupportedModelError: The model's image keys lie outside the decoder's sequence.
        UnsupportedOptionError: Called under `torch.inference_mode`.
        ReplayError: The model does not give the trace's answer its log-probabilities.

    Reference:
        Sundararajan et al., arXiv 1703.01365, equation 1 and proposition 1.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer="A handbag", progress=False)
    >>> found = integrated_gradients(trace, model, words="handbag")  # 32 steps
    >>> bool(abs(found.sum("key") - found.difference) < 0.01)
    True
    """
    from captum.attr import IntegratedGradients

    chosen = chosen_words(trace, words)
    if min(n_steps, batch_size) < 1:
        got = f"n_steps={n_steps}, batch_size={batch_size}"
        raise ModelInputError(message(got, "1 or more of each", "choose them there"))
    if torch.is_inference_mode_enabled():
        fix = "use torch.no_grad, or call it outside the block"
        raise UnsupportedOptionError(message("torch.inference_mode", "tensors with gradients", fix))
    answerer = answer_scorer_of(trace, model, processor=processor, inputs=inputs)
    with answerer.with_embeddings(min(batch_size, n_steps)) as (own, log_probs), torch.enable_grad():

        def score(embeddings: torch.Tensor) -> torch.Tensor:
            return word_scores(log_probs(embeddings), chosen)

        start = embedding_baseline(answerer, own, baseline)
        with torch.no_grad():
            ends = torch.cat([score(own[None]), score(start[None])])
        integrate = IntegratedGradients(score).attribute
        maps = [
            integrate(own[None], start[None], target=n, n_steps=n_steps, internal_batch_size=batch_size)[0].sum(-1)
            for n in range(len(chosen))
        ]
    return _labelled(trace, torch.stack(maps).detach().cpu(), word_coordinates(chosen), ends)


def embedding_baseline(answerer: AnswerScorer, own: torch.Tensor, baseline: EmbeddingBaseline) -> torch.Tensor:
    """What stands in an image token's place.

    Args:
        answerer: Has the images.
        own: The model's own embeddings `[image token, hidden]`.
        baseline: As in `integrated_gradients`.

    Returns:
        `[image token, hidden]`.

    Raises:
        ModelInputError: None of these, or a blank image for a trace without images.
    """
    images = answerer.trace.images if answerer.processor is not None else ()
    if isinstance(baseline, torch.Tensor) and baseline.shape == own.shape:
        return baseline.to(own)
    if baseline is None or isinstance(baseline, str):
        if baseline == "zero":
            return torch.zeros_like(own)
        if baseline == "mean" or (baseline is None and not images):
            return own.mean(0).expand_as(own)
        if baseline in (None, "blank") and images:
            return answerer.embeddings_of([_blank(image) for image in images]).to(own)
    shown = " ".join(repr(baseline).split())[:80]
    got = f"of shape {list(baseline.shape)}" if isinstance(baseline, torch.Tensor) else shown
    blank = "'blank', " if images else ""
    expected = f"{blank}'mean', 'zero', or a tensor of shape {list(own.shape)}"
    raise ModelInputError(message(f"a baseline {got}", expected, "choose one of these"))


def _blank(image: "Image") -> "Image":
    """An image of the same size, all in the mean colour."""
    shown = np.asarray(image.convert("RGB"))
    from PIL import Image as Images

    return Images.fromarray(np.broadcast_to(shown.mean((0, 1)).round().astype(np.uint8), shown.shape).copy())


def _labelled(trace: Trace, values: torch.Tensor, words: dict[str, Any], ends: torch.Tensor) -> xr.DataArray:
    keys = trace.image_keys.nonzero().flatten().numpy()
    scores = {"score": ("word", ends[0].numpy()), "difference": ("word", (ends[0] - ends[1]).numpy())}
    return xr.DataArray(
        values.to(torch.float32).numpy(),
        dims=("word", "key"),
        coords=words | {"key": keys} | scores,
        name="integrated_gradients",
        attrs={
            "long_name": "share in the word's log-probability",
            "units": "nats",
            "bounds": (-math.inf, math.inf),
            "reference": "arXiv 1703.01365, equation 1",
        },
    )
