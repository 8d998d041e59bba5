"""The papers' figures over many traces, each from one call of `aggregate`."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import xarray as xr

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.attention.entropy_threshold_rule import EntropyRule
from lvlmscope.diagnostics import anchor_correlation
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.evaluation.aggregation import aggregate
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import require_all_keys
from lvlmscope.traces.trace import Trace

__all__ = [
    "abnormal_heads_by_layer",
    "entropy_by_layer",
    "entropy_by_object",
    "entropy_by_word",
    "image_attention_by_head",
    "pearson_by_layer",
    "saliency_by_word",
    "text_attention_by_head",
]

Traces = Iterable[Trace] | str | os.PathLike[str]


def image_attention_by_head(traces: Iterable[Trace], **options: Any) -> xr.Dataset:
    """Mean attention on the image of each layer and head, a share of 1 (CLVA, arXiv 2603.25088, fig. 1).

    Args:
        traces: Traces of one model.
        **options: Of `aggregate`: resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer, head).
    """
    return aggregate(traces, "image_attention_focus", by=("layer", "head"), **options)


def text_attention_by_head(
    traces: Iterable[Trace], of: Literal["system", "question"] = "question", **options: Any
) -> xr.Dataset:
    """Mean attention of each layer and head on a part of the prompt's text, a share of 1 (CLVA, fig. 1, its numbers).

    `sum_{j in T} a[l,h,t,j]` with `T` the keys before the image (`"system"`) or after it (`"question"`). With
    `image_attention_by_head` it is the figure: `lvlmscope.plot.heatmap(image, numbers=text)`.

    Args:
        traces: Traces of one model, of all keys.
        of: Which part of the prompt.
        **options: Of `aggregate`: resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer, head).

    Raises:
        ModelInputError: A trace that kept some keys only.
    """

    def mass(trace: Trace) -> xr.DataArray:
        require_all_keys(trace)
        held = at_least_float32(trace.attention[..., trace.layout.keys_of(of)]).sum(-1)
        facts: dict[str, Any] = {
            "units": "1",
            "bounds": (0.0, 1.0),
            "reference": "arXiv 2603.25088 fig. 1, our reading",
        }
        name = f"{of} text attention"
        return labelled_array(trace, held.permute(1, 2, 0), ("layer", "head", "step"), long_name=name, **facts)

    return aggregate(traces, mass, by=("layer", "head"), **options)


def entropy_by_layer(traces: Traces, **options: Any) -> xr.Dataset:
    """Mean entropy of each layer's vision-sensitive heads, nats (CLVA, arXiv 2603.25088, fig. 2, entropy curve).

    Each head's own image distribution, then the mean over the quarter of the heads with most image mass
    (`sensitive_head_entropy`); the entropy of the layer's mean map is `aggregate(traces, "layer_image_entropy")`.

    Args:
        traces: Traces of one model, or a sweep's folder.
        **options: Of `aggregate`: resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer).
    """
    return aggregate(traces, "sensitive_head_entropy", by="layer", **options)


def pearson_by_layer(traces: Traces, **options: Any) -> xr.Dataset:
    """Mean correlation of each layer with CLVA's two anchors, in [-1, 1] (arXiv 2603.25088, fig. 2, Pearson curves).

    Args:
        traces: Traces of one model, or a sweep's folder.
        **options: Of `aggregate`: resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (anchor, layer).
    """
    if isinstance(traces, str | os.PathLike):  # which holds each anchor as a signal of its own
        each = [aggregate(traces, name, by="layer", **options) for name in ("r_neg", "r_pos")]
        return xr.concat(each, xr.Variable("anchor", ["r_neg", "r_pos"]), combine_attrs="override")
    return aggregate(traces, anchor_correlation, by="layer", **options)


def saliency_by_word(
    traces: Traces, labels: Iterable[Sequence[LabelledWord]] | None = None, **options: Any
) -> xr.Dataset:
    """Saliency of the previous token, at grounded, hallucinated and other words (arXiv 2601.20279, table 4).

    Mean over all layers, a share of each row's norm. The paper's 0.472 on correct and 0.193 on hallucinated tokens of
    LLaVA-1.5-7B are, by our inference, values of min-max-normalised maps, and not comparable to these.

    Args:
        traces: Traces of one model, made with `gradients=True`, or a sweep's folder.
        labels: The words of each; None for a sweep, which has labelled its own.
        **options: Of `aggregate`: tokens, resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (word).
    """
    return aggregate(traces, "saliency_to_previous", by="word", labels=labels, **options)


def entropy_by_word(
    traces: Traces, labels: Iterable[Sequence[LabelledWord]] | None = None, **options: Any
) -> xr.Dataset:
    """Image attention entropy of each layer at grounded, hallucinated and other words, nats (D-LEAF, figure 5).

    Args:
        traces: Traces of one model, or a sweep's folder.
        labels: The words of each; None for a sweep, which has labelled its own.
        **options: Of `aggregate`: tokens, resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer, word).
    """
    return aggregate(traces, "layer_image_entropy", by=("layer", "word"), labels=labels, **options)


def entropy_by_object(
    traces: Traces, labels: Iterable[Sequence[LabelledWord]] | None = None, **options: Any
) -> xr.Dataset:
    """Image attention entropy of each layer at each kind of object, grounded and hallucinated, nats (D-LEAF, figure 5).

    `lvlmscope.plot.layers(found.sel(category="dog"))` draws one kind of object.

    Args:
        traces: Traces of one model, or a sweep's folder.
        labels: The words of each; None for a sweep, which has labelled its own.
        **options: Of `aggregate`: tokens, resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer, word, category), with the words grounded and hallucinated alone.
    """
    found = aggregate(traces, "layer_image_entropy", by=("layer", "word", "category"), labels=labels, **options)
    return found.sel(word=["grounded", "hallucinated"])


def abnormal_heads_by_layer(traces: Iterable[Trace], rule: EntropyRule | None = None, **options: Any) -> xr.Dataset:
    """Heads that D-LEAF's rule flags in each layer at a token, a number of heads (D-LEAF, arXiv 2509.07864, fig. 3).

    Args:
        traces: Traces of one model.
        rule: Whose threshold and choice of heads count; None for `EntropyRule()`.
        **options: Of `aggregate`: resamples, level, seed.

    Returns:
        What `aggregate` gives, dims (layer): the mean number of heads in 0..H.
    """

    def counted(trace: Trace) -> xr.DataArray:
        return flagged_heads(trace, rule).sum("head", keep_attrs=True).assign_attrs(units="heads")

    return aggregate(traces, counted, by="layer", **options)
