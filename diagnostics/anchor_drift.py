"""Correlation over depth: how alike layers' image maps are to each other, to early noise, and to the visual anchor."""

from math import prod
from typing import Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.layer_bands import INITIAL, MIDDLE, LayerSpec
from lvlmscope.attention.sensitive_head_rule import HeadFraction, gathered_distribution
from lvlmscope.diagnostics.sinks import Sinks, image_rows, sink_mask, sinks_name
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import OneStep, at_step, chosen_layers
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["anchor_correlation", "layer_correlation"]

_CLVA = "arXiv 2603.25088, our reading"
_VALUES = 2**17  # that are correlated at a time
_CONSTANT = 1e-6  # a spread below this share of the mean is the rounding of float32


@signal(
    name="r_pos",
    kind="attention",
    suspicious="low",
    description="Correlation of each layer's image map with the visual anchor of the middle layers, in [-1, 1].",
    part={"anchor": "r_pos"},
    positional=True,
    stepwise=True,
)
@signal(
    name="r_neg",
    kind="attention",
    suspicious="high",
    description="Correlation of each layer's image map with the noise anchor of the initial layers, in [-1, 1].",
    part={"anchor": "r_neg"},
    positional=True,
    stepwise=True,
)
@checked
@task("correlate layers with anchors")
def anchor_correlation(
    trace: Trace,
    *,
    fraction: HeadFraction = 0.25,
    initial: LayerSpec = INITIAL,
    middle: LayerSpec = MIDDLE,
    sinks: Sinks = "keep",
) -> xr.DataArray:
    """Pearson correlation of each layer's image map with the noise anchor and with the visual anchor, in [-1, 1].

    `Neg[t,j]` is the mean image distribution of the heads that look at the image least, over the initial layers, and
    `Pos[t,j]` that of the heads that look most, over the middle layers: `r_neg[l,t] = Pearson_j(p_bar[l,t], Neg[t])`,
    `r_pos` alike. A layer that belongs to an anchor is correlated with the anchor without itself. Our reading of figure
    captions: the finding to look for is `r_neg` high, low, then rising again in deep layers, `r_pos` highest between.

    It compares shapes, not amounts: a layer that hardly looks at the image counts like one that stares. A few sinks on
    the image correlate all layers with each other; see `sinks`.

    Args:
        trace: A trace with image keys.
        fraction: Share of the heads that count as looking most (least), in (0, 0.5].
        initial: Layers of the noise anchor, numbers or a band of depth.
        middle: Layers of the visual anchor.
        sinks: `"exclude"` leaves out keys that `attention_sinks` finds in any layer; or its result.

    Returns:
        Dims (anchor, layer, step), anchors `"r_neg"` and `"r_pos"`. NaN, never 0, where a map is constant, a layer does
        not look at the image, or an anchor has no other layer.

    Raises:
        ModelInputError: No image keys, a fraction outside its range, or layers the trace does not have.

    Reference:
        arXiv 2603.25088, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> anchor_correlation(planted_trace(patch=7, layers=8)).sel(anchor="r_pos")[7, 0].item()
    1.0
    """
    rows, image = _over_depth(trace, sinks)
    maps = rows.layer_image_distribution[..., image]
    found = []
    for name, band, most in (("initial", initial, False), ("middle", middle, True)):
        inside = torch.zeros(trace.num_layers)
        inside[chosen_layers(trace, band, name=name)] = 1.0
        others = inside.expand(trace.num_layers, -1) * (1 - torch.eye(trace.num_layers))
        gathered = gathered_distribution(rows, fraction, most=most)[..., image]
        found.append(_pearson(maps, torch.einsum("lm,tmk->tlk", others, gathered)))
    return labelled_array(
        trace,
        torch.stack(found).permute(0, 2, 1),
        ("anchor", "layer", "step"),
        coords={"anchor": np.array(["r_neg", "r_pos"], dtype=object)},
        long_name="anchor correlation",
        units="1",
        bounds=(-1.0, 1.0),
        reference=_CLVA,
        fraction=fraction,
        sinks=sinks_name(sinks),
    )


@checked
@task("correlate layers")
def layer_correlation(trace: Trace, *, step: OneStep | Literal["each"] = "mean", sinks: Sinks = "keep") -> xr.DataArray:
    """Pearson correlation of every two layers' image maps, in [-1, 1].

    `r[l,m] = Pearson_j(p_bar[l,t], p_bar[m,t])` over the image keys. Blocks along the diagonal are layers that look at
    the same places. Shapes are compared, not amounts, and a few sinks on the image correlate everything: see `sinks`.

    Args:
        trace: A trace with image keys.
        step: The generated token; `"mean"` the mean of the matrices of all steps, `"each"` keeps them.
        sinks: `"exclude"` leaves out keys that `attention_sinks` finds in any layer; or its result.

    Returns:
        Dims (layer, other_layer), after (step) with `"each"`. NaN, never 0, where a map is constant or missing.

    Raises:
        ModelInputError: No image keys, or a step that the trace does not have.

    Reference:
        arXiv 2603.25088, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> layer_correlation(planted_trace(patch=7)).values.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    rows, image = _over_depth(trace, sinks)
    maps = rows.layer_image_distribution[..., image]
    matrices = _pearson(maps.unsqueeze(2), maps.unsqueeze(1))
    dims: tuple[str, ...] = ("layer", "other_layer")
    return labelled_array(
        trace,
        matrices if step == "each" else at_step(trace, matrices, step),
        ("step", *dims) if step == "each" else dims,
        coords={"other_layer": np.array(trace.layer_indices)},
        long_name="layer correlation",
        units="1",
        bounds=(-1.0, 1.0),
        reference=_CLVA,
        step=step,
        sinks=sinks_name(sinks),
    )


def _over_depth(trace: Trace, sinks: Sinks) -> tuple[AttentionRows, torch.Tensor]:
    """Rows, and the image keys that are compared: the same in all layers, or maps would not be comparable."""
    dropped = sink_mask(trace, sinks).any(0)
    if not bool(dropped.any()):
        return image_rows(trace), trace.image_keys
    everywhere = xr.DataArray(dropped.expand(trace.num_layers, -1).cpu().numpy(), dims=("layer", "key"))
    return image_rows(trace, everywhere), trace.image_keys & ~dropped


def _pearson(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Pearson correlation over the last axis in float64, some steps at a time; NaN where either is constant."""
    size = max(1, _VALUES // max(1, prod(torch.broadcast_shapes(one.shape, other.shape)[1:])))
    parts = zip(one.split(size), other.split(size), strict=True)
    return torch.cat([(_standard(mine) * _standard(its)).mean(-1) for mine, its in parts]).clamp(-1, 1)


def _standard(values: torch.Tensor) -> torch.Tensor:
    """Values less their mean in units of their spread; NaN where they are constant."""
    values = values.double()
    mean = values.mean(-1, keepdim=True)
    spread = (values - mean).pow(2).mean(-1, keepdim=True).sqrt()
    return torch.where(spread > _CONSTANT * mean.abs(), (values - mean) / spread, float("nan"))
