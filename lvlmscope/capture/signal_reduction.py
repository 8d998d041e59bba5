"""Signals read where the rows are: on the model's device, one value for each layer and step brought to the CPU."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
import xarray as xr

from lvlmscope.capture.options import TraceOptions
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.signal_trace import SignalTrace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS, WordSignal

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
    found = SIGNALS.find(name, task=doing, fix="choose one of these, or register it with @lv.signal")
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
    with sharing_rows(), torch.device(device):
        found = {each.name: _over_layers(each.read(here)) for each in signals}
    return SignalTrace(
        signals=xr.Dataset(found),
        answer_ids=trace.answer_ids,
        answer_tokens=trace.answer_tokens,
        answer=trace.answer,
        prompt=trace.prompt,
        provenance=trace.provenance,
        effects=trace.effects,
    )


def _on(device: torch.device, trace: Trace) -> Trace:
    """The trace with all its tensors on one device."""
    held = {each.name: getattr(trace, each.name) for each in fields(trace)}
    moved: dict[str, Any] = {name: one.to(device) for name, one in held.items() if isinstance(one, torch.Tensor)}
    return replace(trace, **moved)


def _over_layers(signal: xr.DataArray) -> xr.DataArray:
    """Dims (step, layer) or (step): other axes are averaged over, undefined values left out."""
    dims = ["step", "layer"] if "layer" in signal.dims else ["step"]
    others = [dim for dim in signal.dims if dim not in dims]
    mean = signal.mean(others, keep_attrs=True) if others else signal
    return mean.transpose(*dims).astype("float32")
