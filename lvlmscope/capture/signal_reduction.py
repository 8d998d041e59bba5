"""Signals read where the rows are: on the model's device, one value for each layer and step brought to the CPU."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from lvlmscope.capture.options import TraceOptions
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.traces.labelled_arrays import positions_alone
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.signal_trace import SignalTrace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS, UNKNOWN_SIGNAL, WordSignal

__all__ = ["reduce_trace", "reducing"]


@task("reduce a trace to signals")
def reducing(names: Sequence[str] | None, *, gradients: bool, hidden_states: bool, **kept: Any) -> TraceOptions:
    """Options of a trace that is reduced to signals, with the parts that the signals need.

    Args:
        names: Names of signals, in any letter case; None for all that the parts below allow.
        gradients: Also make gradients.
        hidden_states: Also keep hidden states.
        **kept: Other options of ``TraceOptions``.

    Returns:
        The options; signals in the order of names, or of registration.

    Raises:
        EvaluationError: No name, an unknown one, or a signal that runs the model once more.
    """
    if names is None:
        given = {"gradient": gradients, "hidden_states": hidden_states, "model": False}
        chosen = [each for each in SIGNALS.values() if all(given[part] for part in each.needs)]
    else:
        chosen = list({each.name: each for each in map(_named, names)}.values())
    if not chosen:
        raise EvaluationError(message("no signal at all", ", ".join(SIGNALS), "choose among these"))
    needed = {part for each in chosen for part in each.needs}
    return TraceOptions(
        gradients=gradients or "gradient" in needed,
        hidden_states=hidden_states or "hidden_states" in needed,
        signals=tuple(chosen),
        **kept,
    )


def _named(name: str) -> WordSignal:
    doing = "reduce a trace to signals"
    found = SIGNALS.find(name, task=doing, fix=UNKNOWN_SIGNAL)
    if "model" in found.needs:
        got, fix = f"{found.name}, which runs the model once more", "read it from a trace of all keys"
        raise EvaluationError(message(got, "signals of a trace alone", fix, task=doing))
    return found


def reduce_trace(trace: Trace, signals: Sequence[WordSignal]) -> SignalTrace:
    """The signals of a trace whose rows may lie on any device.

    Args:
        signals: What to read.

    Returns:
        Words and signals, on the CPU.

    Raises:
        EvaluationError: A signal needs an image, and there is none.
    """
    for each in signals:
        if lacking := each.lacking(trace, None):
            got, fix = f"a trace without {lacking}", "trace a prompt with an image, or choose other signals"
            doing = f"reduce a trace to {each.name}"
            raise EvaluationError(message(got, "traces of an image", fix, task=doing))
    device = trace.attention.device
    here = _on(device, trace)
    # What a signal makes itself, such as the numbers of the steps, is made beside the rows
    beside = nullcontext() if device == torch.get_default_device() else device
    with sharing_rows(), beside:
        found = {each.name: _read(each, here) for each in signals}
    layers = _all_layers(found.values(), trace)
    return SignalTrace(
        values={name: _over_layers(signal, layers, trace) for name, signal in found.items()},
        layers=layers,
        answer_ids=trace.answer_ids,
        answer_tokens=trace.answer_tokens,
        answer=trace.answer,
        prompt=trace.prompt,
        about={name: signal.attrs for name, signal in found.items()},
        provenance=trace.provenance,
        effects=trace.effects,
    )


def _on(device: torch.device, trace: Trace) -> Trace:
    """The trace with all its tensors on one device."""
    held = {each.name: getattr(trace, each.name) for each in fields(trace)}
    elsewhere = {name: one for name, one in held.items() if isinstance(one, torch.Tensor) and one.device != device}
    moved: dict[str, Any] = {name: one.to(device) for name, one in elsewhere.items()}
    return replace(trace, **moved) if moved else trace


def _read(signal: WordSignal, trace: Trace) -> xr.DataArray:
    with positions_alone() if signal.positional else nullcontext():
        return signal.read(trace)


def _own_labels(signal: xr.DataArray, dim: str, trace: Trace) -> tuple[int, ...]:
    """Numbers on a signal's axis of steps or layers: its own, or those of the trace."""
    if dim in signal.coords:
        return tuple(signal[dim].values.tolist())
    return trace.layer_indices if dim == "layer" else tuple(range(trace.num_steps))


def _all_layers(signals: Iterable[xr.DataArray], trace: Trace) -> tuple[int, ...]:
    layered = [signal for signal in signals if "layer" in signal.dims]
    return tuple(sorted({layer for signal in layered for layer in _own_labels(signal, "layer", trace)}))


def _over_layers(signal: xr.DataArray, layers: tuple[int, ...], trace: Trace) -> np.ndarray:
    """float32 ``[step, layer]`` or ``[step]``: other axes are averaged over, undefined values left out."""
    wanted = {"step": tuple(range(trace.num_steps))} | ({"layer": layers} if "layer" in signal.dims else {})
    for dim, labels in wanted.items():
        if (own := _own_labels(signal, dim, trace)) != labels:
            signal = signal.assign_coords({dim: list(own)}).reindex({dim: list(labels)})
    others = [dim for dim in signal.dims if dim not in wanted]
    mean = signal.variable.mean(others) if others else signal.variable
    values: np.ndarray = mean.transpose(*wanted).to_numpy().astype(np.float32, copy=False)
    return values
