"""Infidelity of a saliency map (Yeh et al. 2019), for any map of the image, attention maps included."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from lvlmscope.attribution.answer_scorer import answer_scorer_of
from lvlmscope.attribution.path_gradients import embedding_baseline
from lvlmscope.attribution.perturbation import presence_scorer
from lvlmscope.attribution.word_scores import chosen_words, whole_once, word_scores
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

__all__ = ["infidelity"]


@checked
@task("measure a map's infidelity")
def infidelity(
    trace: Trace,
    model: Any,
    saliency: xr.DataArray,
    word: str | int | Word,
    *,
    share: float = 0.5,
    samples: int = 64,
    normalise: bool = True,
    baseline: Any = "mean",
    image_index: int = 0,
    batch_size: int = 8,
    seed: int = 0,
    processor: Any = None,
    inputs: Any = None,
) -> float:
    """Mean squared error of a map in foretelling what a word loses when parts of the image go, in nats squared.

    With I the parts that go (each with probability `share`), `phi` the map and `s_w` the word's log-probability:
    `INFD = E_I[(I . phi - (s_w(x) - s_w(x without I)))^2]`; with `normalise` of `b phi` with the b that is best for the
    map, so that maps in any unit can be compared, and the value is at most that of an empty map. By captum's
    `infidelity`. 0 is a perfect map for this way of taking parts away; a map can be unfaithful to that and still show
    where the model looked. Compare maps of one word, one image and one seed with each other, and with a flat one.

    Args:
        trace: A trace of an image, made without interventions.
        model: The model that made it.
        saliency: A map with dims row and column (parts of the image are covered), or with dim key, one value for each
            image token (embeddings are exchanged for a baseline).
        word: A word of the answer, or a step's number.
        share: Share of the parts that go each time, in (0, 1).
        samples: Draws.
        normalise: As above.
        baseline: As in `occlusion` for parts of the image, as in `integrated_gradients` for image tokens.
        image_index: Which image of the prompt, for parts of it.
        batch_size: Variants that are run at once.
        seed: Of the draws.
        processor: The model's processor, when it cannot be found from the model's name.
        inputs: Prepared inputs, where the trace was made from such and the map has dim key.

    Returns:
        Nats squared, NaN for a map that is not finite.

    Raises:
        ModelInputError: As for `occlusion`, several words, or shares and samples outside what is possible.
        ShapeError: The map has other dims, or another number of image tokens than the trace.
        ReplayError: The model does not give the trace's answer its log-probabilities.

    Reference:
        Yeh et al., arXiv 1901.09392, definition 2.1.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer="A handbag", progress=False)
    >>> whole = lv.occlusion(trace, model, words="handbag", patches=(1, 1))[0]  # a map of one part cannot be wrong
    >>> round(infidelity(trace, model, whole, "handbag", samples=8), 6)
    0.0
    """
    from captum.metrics import infidelity as by_captum

    if not 0 < share < 1 or min(samples, batch_size) < 1:
        got = f"share={share}, samples={samples}, batch_size={batch_size}"
        expected = "share between 0 and 1, 1 or more of the others"
        raise ModelInputError(message(got, expected, "choose them there"))
    given: Any = word  # a list would be measured by its first word
    if not isinstance(given, str | int | Word):
        got, expected = f"{word!r}"[:80], "one word of the answer, or a step's number"
        raise ModelInputError(message(got, expected, "measure maps of words one by one"))
    chosen = chosen_words(trace, word)
    weights = torch.as_tensor(_as_map(trace, saliency)).float()
    on_keys = weights.ndim == 1
    answerer = answer_scorer_of(
        trace,
        model,
        processor=processor,
        inputs=inputs if on_keys else None,
        in_sequence=on_keys,
    )
    draws = torch.Generator().manual_seed(seed)

    def perturb(present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gone = (torch.rand(present.shape, generator=draws) < share).float()
        return gone, present - gone

    def measure(score: Callable[[torch.Tensor], torch.Tensor]) -> float:
        whole, options = torch.ones_like(weights)[None], {"n_perturb_samples": samples, "normalize": normalise}
        found = by_captum(
            score, perturb, whole, weights[None], max_examples_per_batch=min(batch_size, samples), **options
        )
        return float(found)

    if not on_keys:
        shape = tuple(weights.shape)
        of_parts = presence_scorer(answerer, chosen, shape, baseline=baseline, image_index=image_index)
        return measure(lambda presence: of_parts(presence)[:, 0])
    with answerer.with_embeddings(min(batch_size, samples)) as (own, log_probs), torch.no_grad():
        start = embedding_baseline(answerer, own, baseline)

        def of_tokens(presence: torch.Tensor) -> torch.Tensor:
            mixed = start + presence.to(own.device)[..., None] * (own - start)
            return word_scores(log_probs(mixed), chosen)

        whole = torch.ones(1, len(own))
        of_changed = whole_once(of_tokens, of_tokens(whole))
        return measure(lambda presence: of_changed(presence)[:, 0])


def _as_map(trace: Trace, saliency: Any) -> np.ndarray:
    """Values `[row, column]`, or `[image token]`."""
    flat = saliency
    if isinstance(saliency, xr.DataArray):
        single = [dim for dim in saliency.dims if saliency.sizes[dim] == 1 and dim not in ("row", "column", "key")]
        flat = saliency.squeeze(single, drop=True)
    dims = set(getattr(flat, "dims", ()))
    if dims == {"row", "column"}:
        return np.asarray(flat.transpose("row", "column"), dtype=np.float64)
    if dims == {"key"}:
        keys = trace.image_keys.nonzero().flatten().numpy()
        if set(keys) <= set(flat.coords["key"].values.tolist() if "key" in flat.coords else ()):
            return np.asarray(flat.sel(key=keys), dtype=np.float64)
    got = f"a map with dims {dict(getattr(saliency, 'sizes', {})) or type(saliency).__name__}"
    expected = "dims row and column, or key with a value for each image token of the trace"
    raise ShapeError(message(got, expected, "choose one word, layer and step of the map"))
