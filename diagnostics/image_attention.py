"""How much of each head's attention falls on the image, and how it is spread: S_v, IAF and LIAE."""

import math
from typing import Any, Final, Literal

import torch
import xarray as xr

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.diagnostics.sinks import Sinks, image_rows, sinks_name
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import OneStep, at_step
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["image_attention_focus", "layer_image_entropy", "visual_attention_ratio"]

_DLEAF = "arXiv 2509.07864, our reading"


@checked
@task("measure the visual attention ratio")
def visual_attention_ratio(trace: Trace, *, step: OneStep = 0, sinks: Sinks = "keep") -> xr.DataArray:
    """Share of each head's attention on the image at one query position, in [0, 1].

    `S_v[l,h] = sum_{j in V} a[l,h,i*,j]` with `V` the image keys and `i*` one query position. It is raw mass, not
    divided by token counts: a head that looks everywhere alike scores `n_image / n_visible`, so compare heads of one
    prompt, not prompts.

    Args:
        trace: A trace with image keys.
        step: The generated token whose predicting row is `i*`. 0 is the last prompt token, as in the paper; negative
            numbers count from the end; `"mean"` takes the mean over all steps.
        sinks: `"exclude"` leaves out the keys that `attention_sinks` finds and renormalises the rows; or its result.

    Returns:
        Dims (layer, head), a share of 1.

    Raises:
        ModelInputError: No image keys, or a step that the trace does not have.

    Reference:
        arXiv 2510.10285, eq. 7.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> visual_attention_ratio(planted_trace(mass=0.25))[0, 0].item()
    0.25
    """
    mass = image_rows(trace, sinks).image_mass
    return labelled_array(
        trace,
        at_step(trace, mass, step),
        ("layer", "head"),
        long_name="visual attention ratio",
        units="1",
        bounds=(0.0, 1.0),
        reference="arXiv 2510.10285 eq. 7",
        step=step,
        sinks=sinks_name(sinks),
    )


@signal(name="image_attention_focus", kind="attention", suspicious="low", positional=True, stepwise=True)
@checked
@task("measure image attention focus")
def image_attention_focus(
    trace: Trace,
    *,
    sinks: Sinks = "keep",
    space: Literal["probability", "logit"] = "probability",
) -> xr.DataArray:
    """Attention of each head on the image for every generated token (IAF).

    `IAF[l,h,t] = M[l,h,t] = sum_{j in V} a[l,h,t,j]`. Our reading of the paper, whose code is not public.

    Args:
        trace: A trace with image keys.
        sinks: `"exclude"` leaves out the keys that `attention_sinks` finds and renormalises the rows; or its result.
            `"first_key"` leaves out key 0, the usual attention sink: `M / (1 - a[0])`, the rule of the paper's figures.
            NaN where all attention is on what is left out.
        space: `"logit"` sums the image keys' pre-softmax scores instead (the ranking of the SPIN baseline); unbounded,
            and comparable between heads of one row only.

    Returns:
        Dims (layer, head, step); a share of 1, or scores.

    Raises:
        ModelInputError: No image keys, an unknown option, sinks left out with `space="logit"`, a trace without
            scores, or sinks left out of a trace that kept some keys only.

    Reference:
        arXiv 2509.07864, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> image_attention_focus(planted_trace(mass=0.25, sink=0.5), sinks="first_key")[0, 0, 0].item()
    0.5
    """
    if space == "logit" and sinks_name(sinks) != "keep":
        got = f"sinks={sinks_name(sinks)!r} with space='logit'"
        raise ModelInputError(message(got, "either: scores are not renormalised", "leave sinks as they are"))
    rows = image_rows(trace, sinks)
    bounds: tuple[float, float] | None = (0.0, 1.0)
    if space == "logit":
        if trace.image_scores is None:
            got, fix = "a trace without image scores", "use a trace that lvlmscope.trace made"
            raise ModelInputError(message(got, "space='probability'", fix))
        values, bounds = trace.image_scores, None
    else:
        values = rows.image_mass
    return labelled_array(
        trace,
        values.permute(1, 2, 0),
        ("layer", "head", "step"),
        long_name="image attention focus",
        units="score" if space == "logit" else "1",
        bounds=bounds,
        reference=_DLEAF,
        sinks=sinks_name(sinks),
        space=space,
    )


_ENTROPIES: Final = {
    "module": "layer image entropy",
    "head": "head image entropy",
    "mass": "entropy of image attention over heads",
}


@signal(
    name="head_image_entropy",
    kind="attention",
    suspicious="high",
    description="Mean over heads of the entropy of attention over the image tokens, in nats.",
    options={"mode": "head"},
    positional=True,
    stepwise=True,
)
@signal(name="layer_image_entropy", kind="attention", suspicious="high", positional=True, stepwise=True)
@checked
@task("measure layer image entropy")
def layer_image_entropy(
    trace: Trace,
    *,
    mode: Literal["module", "head", "mass"] = "module",
    normalise: bool = False,
    sinks: Sinks = "keep",
) -> xr.DataArray:
    """Entropy of each layer's attention over the image for every generated token (LIAE), in nats.

    `p_bar[l,t,j] = sum_h a[l,h,t,j] / sum_h M[l,h,t]` on the image keys, `LIAE[l,t] = - sum_j p_bar ln p_bar`: 0 when
    the layer looks at one patch, `ln n` when it looks at all `n` alike (64 patches: 4.159; 576: 6.356). Our reading.

    Args:
        trace: A trace with image keys.
        mode: `"module"` as above; `"head"`: the entropy of each head's own distribution, then the mean over the heads
            that have one; `"mass"`: the entropy over heads of `IAF_h / sum_h IAF`, in `[0, ln H]`.
        normalise: Divide by the greatest possible value, `ln n` (or `ln H`), `n` without image keys that are left out.
        sinks: `"exclude"` leaves out the keys that `attention_sinks` finds; or its result. Sinks on the image matter;
            those outside weigh heads anew in `"module"` and `"mass"`.

    Returns:
        Dims (layer, step), nats, or a share of 1 when normalised. NaN where no head looks at the image.

    Raises:
        ModelInputError: No image keys, an unknown mode, or `normalise` with a single key or head.

    Reference:
        arXiv 2509.07864, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> layer_image_entropy(planted_trace(), normalise=True)[0, 0].item()
    1.0
    """
    rows = image_rows(trace, sinks)
    keys = rows.image_keys.sum(-1).expand(trace.num_layers)
    sizes = torch.full_like(keys, trace.num_heads) if mode == "mass" else keys
    options = {"mode": mode, "sinks": sinks_name(sinks)}
    name = _ENTROPIES[mode]
    return layer_entropies(trace, _entropy(rows, mode), sizes, normalise, long_name=name, reference=_DLEAF, **options)


def layer_entropies(
    trace: Trace, values: torch.Tensor, sizes: torch.Tensor, normalise: bool, **described: Any
) -> xr.DataArray:
    """Entropies with their axes, unit and bounds.

    Args:
        trace: The trace that they are of.
        values: ``[step, layer]`` in nats.
        sizes: ``[layer]``, how many image keys or heads each is over.
        normalise: Divide by ``ln`` of that.
        **described: `long_name`, `reference` and the signal's options.

    Returns:
        Dims (layer, step), nats, or a share of 1 when normalised.

    Raises:
        ModelInputError: `normalise` with fewer than two.
    """
    if normalise:
        if int(sizes.min()) < 2:
            got, fix = f"normalise=True over {int(sizes.min())} image key or head", "leave normalise out"
            raise ModelInputError(message(got, "two or more", fix))
        values = values / sizes.log()
    unit, highest = ("1", 1.0) if normalise else ("nats", math.log(max(int(sizes.max()), 1)))
    axes = ("layer", "step")
    return labelled_array(trace, values.permute(1, 0), axes, units=unit, bounds=(0.0, highest), **described)


def _entropy(rows: AttentionRows, mode: Literal["module", "head", "mass"]) -> torch.Tensor:
    if mode == "module":
        return rows.layer_image_entropy
    if mode == "head":
        return rows.head_image_entropy.nanmean(-1)
    share = rows.image_mass / rows.image_mass.sum(-1, keepdim=True)
    entropy: torch.Tensor = torch.special.entr(share).sum(-1)
    return entropy
