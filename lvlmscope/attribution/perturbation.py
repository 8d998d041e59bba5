"""Occlusion: how much less probable each word is with a part of the image covered."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope.attribution.answer_scorer import AnswerScorer, answer_scorer_of
from lvlmscope.attribution.word_scores import Words, chosen_words, whole_once, word_coordinates, word_scores
from lvlmscope.errors import GeometryError, ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Baseline", "occlusion", "presence_scorer"]

Baseline = Literal["mean"] | Sequence[int] | Any  # Any: an image

_TASK: Final = "cover parts of the image"


@checked
@task(_TASK)
def occlusion(
    trace: Trace,
    model: Any,
    *,
    words: Words = None,
    patches: tuple[int, int] = (8, 8),
    mask: "np.ndarray | torch.Tensor | None" = None,
    baseline: Baseline = "mean",
    image_index: int = 0,
    batch_size: int = 8,
    processor: Any = None,
) -> xr.DataArray:
    """Log-probability that each word loses when a part of the image is covered, in nats.

    With `s_w(x) = sum_{t in w} ln p(token_t | x, tokens before)` for the image x: `O[w,r] = s_w(x) - s_w(x with part
    r covered)`. Above 0 the part spoke for the word, below 0 against it. Attention plays no part in it. By captum's
    `FeatureAblation`; the whole answer is given again for each part, so that one pass serves all words.

    A covered part is itself something to see: a grey square may look like an object, and what two parts show twice
    neither loses when covered alone. Smaller parts than an object show little. One word of a fixed phrase is near
    certain whatever is shown: its map is flat.

    Args:
        trace: A trace that holds its images, made without interventions.
        model: The model that made it.
        words: A word of the answer, a step's number, several of them, or None for all words.
        patches: Rows and columns of parts.
        mask: Instead of `patches`, whole numbers `[row, column]` of any size up to the image's, laid over it: cells
            of one number are covered together. A segmentation, or one object's box in ones.
        baseline: What covers: `"mean"`, the image's mean colour; a colour (red, green, blue) in 0 to 255; or a
            image to take the parts from.
        image_index: Which image of the prompt.
        batch_size: Covered images that are run at once.
        processor: The model's processor, when it cannot be found from the model's name.

    Returns:
        Dims (word, row, column), nats; coordinates `first_step` and `last_step` of each word, its `score` with nothing
        covered, and the edges `top`, `bottom`, `left` and `right` in pixels. `lvlmscope.plot.overlay` draws it.

    Raises:
        ModelInputError: A trace without images, interventions that are on, or no such word, image or part.
        GeometryError: A mask finer than the image, or a baseline image of another size.
        ReplayError: The model does not give the trace's answer its log-probabilities.

    Reference:
        Zeiler and Fergus, arXiv 1311.2901, section 4.2; captum's FeatureAblation.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)  # a handbag in the lower left
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer="A handbag", progress=False)
    >>> found = occlusion(trace, model, words="handbag", patches=(2, 2))
    >>> int(found.values.argmax())
    2
    """
    from captum.attr import FeatureAblation

    chosen = chosen_words(trace, words)
    parts = _parts(patches, mask)
    answerer = answer_scorer_of(trace, model, processor=processor, in_sequence=False)
    scorer = presence_scorer(answerer, chosen, parts.shape, baseline=baseline, image_index=image_index)
    whole = torch.ones(1, *parts.shape)
    own = scorer(whole)
    lost = FeatureAblation(scorer).attribute(
        whole, feature_mask=torch.from_numpy(parts)[None], perturbations_per_eval=_positive(batch_size)
    )
    width, height = trace.images[image_index].size
    return xr.DataArray(
        lost.view(len(chosen), *parts.shape).numpy(),
        dims=("word", "row", "column"),
        coords=word_coordinates(chosen) | _edges(parts.shape, (width, height)) | {"score": ("word", own[0].numpy())},
        name="occlusion",
        attrs={
            "long_name": "lost when covered",
            "units": "nats",
            "bounds": (-math.inf, math.inf),
            "reference": "arXiv 1311.2901",
            "image_index": image_index,
        },
    )


@task(_TASK)
def presence_scorer(
    answerer: AnswerScorer, words: Sequence[Word], shape: tuple[int, ...], *, baseline: Baseline, image_index: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Scores of words from which parts of an image are there.

    Args:
        answerer: Gives the answer again.
        shape: Rows and columns of parts.
        baseline: What stands where a part is not there, as in `occlusion`.
        image_index: Which image of the prompt.

    Returns:
        A function from presence `[variant, row, column]`, 1 or 0, to scores `[variant, word]` in nats. It has been
        checked that with everything there the scores are the trace's.

    Raises:
        ModelInputError: No such image.
        GeometryError: More rows or columns than pixels, or a baseline of another size.
        ReplayError: They are not the trace's.
    """
    images = answerer.trace.images
    if not 0 <= image_index < len(images):
        got, expected = f"image {image_index}", f"0 to {len(images) - 1}"
        raise ModelInputError(message(got, expected, "choose another"))
    from PIL import Image as PillowImage

    shown = np.asarray(images[image_index].convert("RGB"))
    cover = _cover(shown, baseline)
    rows, columns = (_places(count, pixels) for count, pixels in zip(shape, shown.shape[:2], strict=True))

    def painted(present: torch.Tensor) -> "Image":
        there = present.bool().numpy()[rows[:, None], columns[None, :]]
        return PillowImage.fromarray(np.where(there[..., None], shown, cover).astype(np.uint8))

    def score(presence: torch.Tensor) -> torch.Tensor:
        images = [painted(present) for present in presence.detach().cpu()]
        return word_scores(answerer.with_images(images, place=image_index), words)

    own = answerer.with_images([images[image_index]], place=image_index)
    answerer.confirm(own)
    return whole_once(score, word_scores(own, words))


def _parts(patches: tuple[int, int], mask: "np.ndarray | torch.Tensor | None") -> np.ndarray:
    """Numbers of the parts from 0 up without gaps, int64 `[row, column]`."""
    given = np.arange(int(np.prod(patches))).reshape(patches) if mask is None else np.asarray(mask)
    if given.ndim != 2 or not given.size or not (np.issubdtype(given.dtype, np.integer) or given.dtype == bool):
        got, expected, fix = f"patches={patches}", "(rows, columns), 1 or more of each", "choose them there"
        if mask is not None:
            got, expected = (
                f"a mask of {given.dtype} with shape {list(given.shape)}",
                "whole numbers [row, column]",
            )
            fix = "number the parts"
        raise ModelInputError(message(got, expected, fix))
    numbers: np.ndarray = np.unique(given, return_inverse=True)[1].reshape(given.shape).astype(np.int64)
    return numbers


def _cover(shown: np.ndarray, baseline: Baseline) -> np.ndarray:
    """What stands where a part is not there, `[1 or height, 1 or width, 3]`."""
    from PIL.Image import Image

    if isinstance(baseline, Image):
        if baseline.size != (shown.shape[1], shown.shape[0]):
            got = f"a baseline of {baseline.width} x {baseline.height} pixels"
            expected = f"the image's {shown.shape[1]} x {shown.shape[0]}"
            raise GeometryError(message(got, expected, "resize it"))
        return np.asarray(baseline.convert("RGB"))
    if isinstance(baseline, str) and baseline == "mean":
        mean: np.ndarray = shown.mean((0, 1), keepdims=True).round()
        return mean
    colour = np.asarray(() if isinstance(baseline, str) else baseline)
    if colour.shape != (3,) or colour.min() < 0 or colour.max() > 255:
        got, expected = f"baseline={baseline!r}", "'mean', a colour (red, green, blue) in 0 to 255, or an image"
        raise ModelInputError(message(got, expected, "choose one of these"))
    return colour.reshape(1, 1, 3)


def _places(count: int, pixels: int) -> np.ndarray:
    """The part that each pixel of an edge lies in.

    Raises:
        GeometryError: There are more parts than pixels.
    """
    if not 1 <= count <= pixels:
        got, expected = f"{count} parts along {pixels} pixels", f"1 to {pixels}"
        raise GeometryError(message(got, expected, "take larger parts"))
    places: np.ndarray = np.arange(pixels) * count // pixels
    return places


def _edges(shape: tuple[int, ...], size: tuple[int, int]) -> dict[str, Any]:
    """Numbers and pixel edges of rows and columns: the first pixel inside, and the first after."""
    found: dict[str, Any] = {}
    names = (("row", "top", "bottom"), ("column", "left", "right"))
    for (dim, first, last), count, pixels in zip(names, shape, reversed(size), strict=True):
        edges = -(-np.arange(count + 1) * pixels // count)  # rounded up: see `_places`
        found |= {dim: np.arange(count), first: (dim, edges[:-1]), last: (dim, edges[1:])}
    return found


def _positive(batch_size: int) -> int:
    if batch_size < 1:
        raise ModelInputError(message(f"batch_size={batch_size}", "1 or more", "choose it there"))
    return batch_size
