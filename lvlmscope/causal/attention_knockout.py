"""Attention knockout: how much less probable each word is with attention cut in a window of layers."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import torch
import xarray as xr

from lvlmscope.attribution.answer_scorer import AnswerScorer, answer_scorer_of
from lvlmscope.attribution.word_scores import Words, chosen_words, word_coordinates, word_scores
from lvlmscope.capture.trace_one import trace as trace_one
from lvlmscope.causal.attention_cut import AttentionCut, Cut
from lvlmscope.causal.batches import in_batches
from lvlmscope.causal.forward_positions import ForwardPositions
from lvlmscope.causal.layer_windows import Windows, layer_windows, window_coordinates
from lvlmscope.causal.model_access import handling_attention
from lvlmscope.causal.positions import Keys, Rows, described, keys_named, rows_named
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.array_attributes import storable
from lvlmscope.traces.requirements import require_all_keys
from lvlmscope.traces.trace import Trace

__all__ = ["knockout"]

_REFERENCE: Final = "arXiv 2304.14767"


@checked
@task("cut attention")
def knockout(
    model: Any,
    image: Any,
    prompt: Any = None,
    *,
    words: Words = None,
    from_: Keys = "image",
    to: Rows = "answer",
    layers: Windows = 3,
    image_index: int = 0,
    batch_size: Annotated[int, Range(ge=1)] = 8,
    processor: Any = None,
    inputs: Any = None,
    **generation: Any,
) -> xr.DataArray:
    """Log-probability that each word loses when attention is cut in a window of layers, in nats.

    In the layers l of a window W, the scores of rows r in `to` for keys c in `from_` become -inf before the softmax,
    so that the row's other weights sum to 1: `M[l,r,c] = -inf` (l in W, c != r). With
    `s_w = sum_{t in w} ln p(token_t | image, tokens before)`: `K[W,w] = s_w - s_w(cut in W)`. Above 0 the word is
    less probable without that attention, below 0 more probable; `1 - exp(-K)` is the share of its probability that is
    lost. The trace's answer is replayed with the cut, several windows in one forward.

    A row always keeps its own key. What a row cannot read in one window it may have read before, or read from rows that
    did: `to="answer"` leaves the rows of the question, which carry much of the image; `to="all"` cuts these, too. A
    wide window takes the model far from what it was trained on, and any word may fall: compare with words that the
    image does not show.

    Args:
        model: What `load` gave, or a bare model.
        image: A trace that the plain model made, or an image to be traced with `prompt`.
        prompt: The question, where an image is given.
        words: A word of the answer, a step's number, several of them, or None for all words.
        from_: Keys that are not seen: `"image"`, `"question"`, `"system"`, `"answer"` or `"all"`; a box of the image in
            pixels as a tuple (left, top, right, bottom); or positions in a list or an array.
        to: Rows that do not see them: `"answer"`, those that predict the answer; `"word"`, those that predict each
            word's own tokens, one run a word; `"question"` or `"image"`, rows of the prompt without its last, which
            predicts; `"all"`; or positions.
        layers: Width of the window that slides over the layers, one around each layer, cut off at the ends; or a list
            of layer sets, each as `lvlmscope.resolve_layers` takes it.
        image_index: The image of the box.
        batch_size: Cut answers that are run at once.
        processor: The model's processor, when it cannot be found from the model's name.
        inputs: Prepared inputs, where the trace was made from such.
        **generation: As for `lvlmscope.trace`, where an image is given.

    Returns:
        Dims (window, word), nats; coordinates `first_layer` and `last_layer` of each window, `first_step`, `last_step`
        and, with nothing cut, `score` of each word. `lvlmscope.plot.windows` draws it.

    Raises:
        ModelInputError: Interventions that are on, a trace of some keys only or without its images, or no such word,
            key, row, image or layer.
        UnsupportedModelError: The model's image keys lie outside the decoder's sequence.
        GeometryError: A box where the geometry of the image is not known.
        ReplayError: The model does not give the trace's answer its log-probabilities.

    Reference:
        Geva et al. 2023, arXiv 2304.14767, attention knockout; on vision-language models Zhang et al. 2024,
        arXiv 2411.18620. All heads of a layer lose the keys, as there.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer="A handbag", progress=False)
    >>> lost = knockout(model, trace, words="handbag", to="all", layers=[None])  # all layers
    >>> bool(lost.item() > 1)
    True
    """
    trace = _traced(model, image, prompt, processor, generation)
    chosen = chosen_words(trace, words)
    keys, rows = keys_named(trace, from_, image_index), rows_named(trace, to, chosen)
    scorer = answer_scorer_of(trace, model, processor=processor, inputs=inputs)
    depth = len(scorer.family.decoder_layers(scorer.model))
    windows = layer_windows(layers, depth, trace.layer_indices)
    own, found = _log_probs(scorer, keys, windows, rows, batch_size)
    scores = word_scores(found, chosen)  # [window, set of rows, word]
    # With rows of their own, each word is read where its rows were cut
    cut = scores[:, 0] if len(rows) == 1 else scores.diagonal(dim1=1, dim2=2)
    whole = word_scores(own, chosen)
    return xr.DataArray(
        (whole - cut).numpy(),
        dims=("window", "word"),
        coords=window_coordinates(windows, trace.layer_indices)
        | word_coordinates(chosen)
        | {"score": ("word", whole[0].numpy())},
        name="knockout",
        attrs=storable(
            {
                "long_name": "lost when cut",
                "units": "nats",
                "bounds": (-math.inf, math.inf),
                "reference": _REFERENCE,
                "from_": described(from_),
                "to": described(to),
                "num_keys": int(keys.sum()),
                "num_layers": depth,
            }
        ),
    )


def _traced(model: Any, given: Any, prompt: Any, processor: Any, generation: dict[str, Any]) -> Trace:
    """The trace given, or one of the image given."""
    if not isinstance(given, Trace):
        return trace_one(model, given, prompt, processor=processor, **{"progress": False} | generation)
    if prompt is not None or generation:
        got = "a trace with " + ", ".join(["prompt"] * (prompt is not None) + sorted(generation))
        raise ModelInputError(message(got, "a trace alone, or an image with a prompt", "leave the others out"))
    require_all_keys(given)
    return given


@torch.no_grad()
def _log_probs(
    scorer: AnswerScorer,
    keys: torch.Tensor,
    windows: Sequence[tuple[int, ...]],
    rows: Sequence[torch.Tensor],
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the answer's tokens, with nothing cut `[1, step]` and cut `[window, set of rows, step]`."""
    cuts = [Cut(layers=frozenset(window), rows=each) for window in windows for each in rows]
    first_end = scorer.trace.num_prompt_keys if scorer.stepwise else len(scorer.trace.tokens)
    cut = AttentionCut(keys, cuts, ForwardPositions(first_end))
    every = [Cut(layers=frozenset(), rows=rows[0]), *cuts]
    together = 1 if scorer.stepwise else min(batch_size, len(every))
    run = scorer.repeated(together)  # whose prompt is run before anything is cut
    with handling_attention(scorer.model, scorer.family, cut):
        log_probs = in_batches(every, together, cut.begin, run)
    scorer.confirm(log_probs[:1])
    return log_probs[:1], log_probs[1:].view(len(windows), len(rows), -1)
