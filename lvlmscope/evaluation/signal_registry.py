"""The registry of signals that are read at words: what each is computed from, needs, and is taken for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import torch
import xarray as xr

from lvlmscope import diagnostics, lenses
from lvlmscope.errors import EvaluationError, message
from lvlmscope.traces.labelled_arrays import labelled
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS, Kind, Needed, WordSignal

__all__ = ["SIGNALS", "Kind", "Needed", "WordSignal", "chosen_signals"]


def _position(trace: Trace) -> xr.DataArray:
    attrs: dict[str, Any] = {
        "long_name": "position in the answer",
        "units": "tokens",
        "bounds": None,
        "reference": "none",
    }
    return labelled(trace, torch.arange(trace.num_steps), ("step",), **attrs)


def _confidence(measure: str) -> Callable[[Trace], xr.DataArray]:
    return lambda trace: diagnostics.confidence(trace).sel(measure=measure, drop=True)


def _anchor(anchor: str) -> Callable[[Trace], xr.DataArray]:
    return lambda trace: diagnostics.anchor_correlation(trace).sel(anchor=anchor, drop=True)


def _signal(
    name: str,
    kind: Kind,
    suspicious: Literal["low", "high"],
    compute: Callable[..., xr.DataArray],
    *needs: Needed,
) -> WordSignal:
    return WordSignal(name=name, kind=kind, suspicious=suspicious, compute=compute, needs=needs)


_ALL: Final = (
    _signal("position", "baseline", "high", _position),
    _signal("log_prob", "confidence", "low", _confidence("log_probability")),
    _signal("entropy", "confidence", "high", _confidence("entropy")),
    _signal("margin", "confidence", "low", _confidence("margin")),
    _signal("image_attention_focus", "attention", "low", diagnostics.image_attention_focus),
    _signal("layer_image_entropy", "attention", "high", diagnostics.layer_image_entropy),
    _signal("head_image_entropy", "attention", "high", partial(diagnostics.layer_image_entropy, mode="head")),
    _signal("sensitive_head_entropy", "attention", "high", diagnostics.sensitive_head_entropy),
    _signal("r_neg", "attention", "high", _anchor("r_neg")),
    _signal("r_pos", "attention", "low", _anchor("r_pos")),
    _signal("saliency_to_previous", "gradient", "low", diagnostics.saliency_to_previous, "gradient"),
    _signal("saliency_to_answer", "gradient", "low", diagnostics.saliency_to_answer, "gradient"),
    _signal("saliency_to_image", "gradient", "low", diagnostics.saliency_to_image, "gradient"),
    _signal("cosine_drift", "hidden", "high", diagnostics.representation_drift, "hidden_states"),
    _signal(
        "relative_drift",
        "hidden",
        "high",
        partial(diagnostics.representation_drift, measure="relative"),
        "hidden_states",
    ),
    _signal("internal_confidence", "lens", "low", lenses.internal_confidence, "model"),
)
# What is possible and what to do, by what is lacking
_CURES: Final = {
    "gradient": ("a trace made with gradients=True", "pass gradients=True to lvlmscope.trace"),
    "hidden_states": ("a trace made with hidden_states=True", "pass hidden_states=True to lvlmscope.trace"),
    "model": ("the model that made the traces", "pass model="),
    "image keys": ("traces of an image", "trace a prompt with an image"),
}
for _each in _ALL:
    SIGNALS.register(_each.name, _each)


def chosen_signals(
    names: Sequence[str] | None, trace: Trace, model: Any = None
) -> tuple[tuple[WordSignal, ...], tuple[str, ...]]:
    """The signals to read, and the names of those left out because the trace lacks what they need.

    Args:
        names: Names to read; None for all that the trace allows.
        trace: The first trace: the others must hold as much.
        model: The model, for signals that run it once more.

    Returns:
        Signals in the registry's order, and what was left out with the reason.

    Raises:
        EvaluationError: An unknown name, or a named signal that the trace cannot give.
    """
    unknown = sorted(set(names or ()) - set(SIGNALS))
    if unknown or (names is not None and not names):
        got = f"{', '.join(unknown) or 'no signal at all'}"
        close = SIGNALS.close_match(unknown[0]) if unknown else ""
        fix = f"did you mean {close!r}?" if close else "choose among these"
        raise EvaluationError(message(got, ", ".join(SIGNALS), fix, task="read signals at words"))
    wanted = [signal for signal in SIGNALS.values() if names is None or signal.name in names]
    missing = {signal.name: reason for signal in wanted if (reason := signal.lacking(trace, model))}
    if names is not None and missing:
        name, reason = next(iter(missing.items()))
        got = f"a trace without {reason}" if reason != "model" else "no model"
        raise EvaluationError(message(got, *_CURES[reason], task=f"read {name} at words"))
    chosen = tuple(signal for signal in wanted if signal.name not in missing)
    return chosen, tuple(f"{name} (no {reason})" for name, reason in missing.items())
