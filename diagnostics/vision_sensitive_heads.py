"""The heads of each layer that look at the image most, and how spread out they look."""

from typing import Literal

import xarray as xr

from lvlmscope.attention.sensitive_head_rule import HeadFraction, extreme_heads
from lvlmscope.diagnostics.image_attention import layer_entropies
from lvlmscope.diagnostics.sinks import Sinks, image_rows, sinks_name
from lvlmscope.errors import task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.labelled_arrays import labelled_array
from lvlmscope.traces.requirements import OneStep, at_step
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import signal

__all__ = ["sensitive_head_entropy", "sensitive_heads"]

_CLVA = "arXiv 2603.25088, our reading"


@checked
@task("find sensitive heads")
def sensitive_heads(
    trace: Trace,
    *,
    fraction: HeadFraction = 0.25,
    step: OneStep | Literal["each"] = "mean",
    which: Literal["sensitive", "insensitive"] = "sensitive",
    sinks: Sinks = "keep",
) -> xr.DataArray:
    """The heads of each layer that look at the image most, yes or no.

    The top `fraction` of a layer's heads by image mass `M[l,h]`, rounded down, at least one. The rule ranks within a
    layer, so each layer has as many, also one that hardly looks at the image: see `visual_attention_ratio` for amounts.

    Args:
        trace: A trace with image keys.
        fraction: Share of the heads, in (0, 0.5].
        step: The generated token; `"mean"` ranks by the mean over all, `"each"` ranks anew for each.
        which: `"insensitive"`: the heads that look least.
        sinks: `"exclude"` leaves out the keys that `attention_sinks` finds and renormalises the rows; or its result.

    Returns:
        Dims (layer, head), and step with `"each"`; bool.

    Raises:
        ModelInputError: No image keys, or an option outside its range.

    Reference:
        arXiv 2603.25088, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> sensitive_heads(planted_trace(heads=8)).sum("head").values.tolist()
    [2, 2]
    """
    mass = image_rows(trace, sinks).image_mass
    mass = mass if step == "each" else at_step(trace, mass, step)
    chosen = extreme_heads(mass, fraction, most=which == "sensitive")
    return labelled_array(
        trace,
        chosen.permute(1, 2, 0) if step == "each" else chosen,
        ("layer", "head", "step") if step == "each" else ("layer", "head"),
        long_name=f"{which} head",
        units="yes or no",
        bounds=(0, 1),
        reference=_CLVA,
        fraction=fraction,
        step=step,
        sinks=sinks_name(sinks),
    )


@signal(name="sensitive_head_entropy", kind="attention", suspicious="high", positional=True)
@checked
@task("measure the entropy of sensitive heads")
def sensitive_head_entropy(
    trace: Trace, *, fraction: HeadFraction = 0.25, normalise: bool = False, sinks: Sinks = "keep"
) -> xr.DataArray:
    """Mean entropy of the sensitive heads' image distributions per layer and generated token, in nats.

    The entropy of `p[l,h,t]` of each head that looks at the image most at that token (`sensitive_heads` with
    `step="each"`), then the mean over these heads: low where those heads each look at one place, `ln n`
    where they look everywhere alike. Heads may each be sharp on different patches; `layer_image_entropy` shows that.

    Args:
        trace: A trace with image keys.
        fraction: As in `sensitive_heads`.
        normalise: Divide by `ln n`, `n` without image keys that are left out.
        sinks: As in `sensitive_heads`.

    Returns:
        Dims (layer, step), nats, or a share of 1 when normalised. NaN where no head looks at the image.

    Raises:
        ModelInputError: No image keys, a fraction outside its range, or `normalise` with a single image key.

    Reference:
        arXiv 2603.25088, our reading.

    >>> from lvlmscope.traces.synthetic import planted_trace
    >>> sensitive_head_entropy(planted_trace(), normalise=True)[0, 0].item()
    1.0
    """
    rows = image_rows(trace, sinks)
    chosen = extreme_heads(rows.image_mass, fraction, most=True)
    values = rows.head_image_entropy.where(chosen, float("nan")).nanmean(-1)
    keys = rows.image_keys.sum(-1).expand(trace.num_layers)
    options = {"fraction": fraction, "sinks": sinks_name(sinks)}
    name = "sensitive head entropy"
    return layer_entropies(trace, values, keys, normalise, long_name=name, reference=_CLVA, **options)
