"""How far each generated token rests on the token before it, on the answer so far, and on the image."""

import torch
import xarray as xr

from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.diagnostics.gradient_saliency import saliency_rows
from lvlmscope.diagnostics.sinks import Sinks, sinks_name
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import chosen_layers, require_image
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["saliency_to_answer", "saliency_to_image", "saliency_to_previous"]

_PAPER = "arXiv 2601.20279"


@signal(name="saliency_to_previous", kind="gradient", suspicious="low", needs=("gradient",), positional=True)
@checked
@task("measure saliency to the previous token")
def saliency_to_previous(
    trace: Trace, *, layers: LayerSpec = None, normalise: bool = True, sinks: Sinks = "keep"
) -> xr.DataArray:
    """Saliency of the token just before each generated token, a share of the row's norm, in [0, 1].

    `to_previous[l,t] = S[l,t,j]` at the key of generated token `t - 1`: the paper's hallucination statistic, which is
    low where a token comes from nowhere. NaN for the first token. The paper's 0.472 on correct and 0.193 on
    hallucinated tokens (LLaVA-1.5-7B) are, by our inference, values of min-max-normalised maps: not comparable to
    these. In a word of several tokens the later ones lean on the earlier ones whatever the image shows: compare first
    tokens with first tokens.

    Args:
        trace: A trace made with `gradients=True`.
        layers: Layers to average over, numbers or a band of depth; None keeps every layer.
        normalise: False leaves the rows in nats, as in `saliency`.
        sinks: As in `saliency`.

    Returns:
        Dims (layer, step), or (step) when `layers` are named.

    Raises:
        ModelInputError: A trace without gradients, or layers it does not have.

    Reference:
        arXiv 2601.20279, section on token grounding.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> saliency_to_previous(planted_trace(salient="previous"), layers=[0]).values.tolist()
    [nan, 1.0, 1.0]
    """
    values = saliency_rows(trace, normalise=normalise, sinks=sinks)
    # The predicting row of token t sits at the key of token t - 1
    places = trace.num_prompt_keys - 1 + torch.arange(trace.num_steps)
    found = values[torch.arange(trace.num_steps), :, places]
    found = found.masked_fill((torch.arange(trace.num_steps) == 0).unsqueeze(-1), float("nan"))
    return _scored(trace, found, layers, "saliency to previous", normalise=normalise, sinks=sinks)


@signal(name="saliency_to_answer", kind="gradient", suspicious="low", needs=("gradient",), positional=True)
@checked
@task("measure saliency to the answer")
def saliency_to_answer(
    trace: Trace, *, layers: LayerSpec = None, normalise: bool = True, sinks: Sinks = "keep"
) -> xr.DataArray:
    """Mean saliency over the keys of the answer so far, a share of the row's norm, in [0, 1].

    `to_answer[l,t] = mean_j S[l,t,j]` over the keys of the tokens generated before `t`; NaN for the first token. A mean
    over more and more keys: it falls along an answer by itself, so compare tokens at like places.

    Args:
        trace: A trace made with `gradients=True`.
        layers: As in `saliency_to_previous`; the paper's are `(0.19, 0.27)`, layers 6-8 of 32.
        normalise: As in `saliency_to_previous`.
        sinks: As in `saliency`.

    Returns:
        Dims (layer, step), or (step) when `layers` are named.

    Raises:
        ModelInputError: A trace without gradients, or layers it does not have.

    Reference:
        arXiv 2601.20279, eq. 6, which has all keys after the image; the answer's alone are our choice.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> saliency_to_answer(planted_trace(salient="previous"), layers=[0]).values.tolist()
    [nan, 1.0, 0.5]
    """
    values = saliency_rows(trace, normalise=normalise, sinks=sinks)
    answer = trace.rows().answer_keys
    assert answer is not None
    found = (values * answer).sum(-1) / answer.sum(-1)  # 0 / 0 at the first token: NaN
    return _scored(trace, found, layers, "saliency to answer", normalise=normalise, sinks=sinks)


@signal(
    name="saliency_to_image", kind="gradient", suspicious="low", needs=("gradient",), positional=True, stepwise=True
)
@checked
@task("measure saliency to the image")
def saliency_to_image(
    trace: Trace, *, layers: LayerSpec = None, normalise: bool = True, sinks: Sinks = "keep"
) -> xr.DataArray:
    """Saliency of all image keys together, in units of the row's norm, from 0 to `sqrt(n)`.

    `to_image[l,t] = sum_{j in V} S[l,t,j]`. Rows have L2 norm 1, so the sum grows with the number of patches that share
    the saliency: it compares tokens of one image, not images or models.

    Args:
        trace: A trace with image keys, made with `gradients=True`.
        layers: As in `saliency_to_previous`.
        normalise: As in `saliency_to_previous`.
        sinks: As in `saliency`.

    Returns:
        Dims (layer, step), or (step) when `layers` are named.

    Raises:
        ModelInputError: A trace without gradients or image keys, or layers it does not have.

    Reference:
        arXiv 2601.20279, eq. 1-5; the sum over the image is our choice.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> saliency_to_image(planted_trace(salient=7), layers=[0])[0].item()
    1.0
    """
    require_image(trace)
    found = saliency_rows(trace, normalise=normalise, sinks=sinks)[..., trace.image_keys].sum(-1)
    high = float(trace.image_keys.sum()) ** 0.5
    return _scored(trace, found, layers, "saliency to image", normalise=normalise, sinks=sinks, high=high)


def _scored(
    trace: Trace,
    found: torch.Tensor,
    layers: LayerSpec,
    name: str,
    *,
    normalise: bool,
    sinks: Sinks,
    high: float = 1.0,
) -> xr.DataArray:
    """`[step, layer]` labelled, or averaged over the named layers."""
    dims: tuple[str, ...] = ("layer", "step")
    if layers is None:
        values = found.permute(1, 0)
    else:
        values, dims = found[:, chosen_layers(trace, layers)].mean(-1), ("step",)
    return labelled_array(
        trace,
        values,
        dims,
        long_name=name,
        units="1" if normalise else "nats",
        bounds=(0.0, high if normalise else None),
        reference=_PAPER,
        normalise=normalise,
        sinks=sinks_name(sinks),
        layers="each" if layers is None else list(layers),
    )
