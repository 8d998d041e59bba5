"""The registry of signals that are read at words: what each is computed from, needs, and is taken for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import xarray as xr

from lvlmscope import diagnostics
from lvlmscope.diagnostics.labelled import labelled
from lvlmscope.errors import EvaluationError, message
from lvlmscope.record import Trace

__all__ = ["SIGNALS", "Kind", "Needed", "Tokens", "WordSignal", "at_words", "chosen_signals"]

Kind = Literal["confidence", "attention", "gradient", "hidden", "baseline"]
Needed = Literal["gradient", "hidden_states"]
Tokens = Literal["first", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSignal:
    """A signal with one value for each layer and step, or for each step.

    Attributes:
        name: Its name in tables.
        kind: What it is read from: the next-token distribution (`"confidence"`), attention, gradients, hidden states;
            `"baseline"` for what every signal must beat without looking into the model.
        suspicious: The side that its paper, or common sense, connects with made-up words; None where there is no claim.
        compute: From a trace to an array with dims among layer, head, step.
        needs: Optional parts of a trace that it reads.
    """

    name: str
    kind: Kind
    suspicious: Literal["low", "high"] | None
    compute: Callable[[Trace], xr.DataArray]
    needs: tuple[Needed, ...] = ()

    def available(self, trace: Trace) -> bool:
        """Whether a trace holds what the signal reads."""
        image = self.kind in {"confidence", "baseline"} or bool(trace.image_keys.any())
        return image and all(getattr(trace, part) is not None for part in self.needs)


def _of_step(name: str, units: str, values: Callable[[Trace], torch.Tensor]) -> Callable[[Trace], xr.DataArray]:
    def compute(trace: Trace) -> xr.DataArray:
        attrs = {"long_name": name, "units": units, "bounds": None, "reference": "the model's own distribution"}
        return labelled(trace, values(trace), ("step",), **attrs)

    return compute


_ALL: Final = (
    WordSignal(
        name="position",
        kind="baseline",
        suspicious="high",
        compute=_of_step("position in the answer", "tokens", lambda trace: torch.arange(trace.num_steps)),
    ),
    WordSignal(
        name="log_prob",
        kind="confidence",
        suspicious="low",
        compute=_of_step("log-probability", "nats", lambda trace: trace.log_probs),
    ),
    WordSignal(
        name="entropy",
        kind="confidence",
        suspicious="high",
        compute=_of_step("next-token entropy", "nats", lambda trace: trace.entropy),
    ),
    WordSignal(
        name="margin",
        kind="confidence",
        suspicious="low",
        compute=_of_step("margin", "nats", lambda trace: trace.margin),
    ),
    WordSignal(
        name="image_attention_focus",
        kind="attention",
        suspicious="low",
        compute=diagnostics.image_attention_focus,
    ),
    WordSignal(
        name="layer_image_entropy",
        kind="attention",
        suspicious="high",
        compute=diagnostics.layer_image_entropy,
    ),
    WordSignal(
        name="head_image_entropy",
        kind="attention",
        suspicious="high",
        compute=lambda trace: diagnostics.layer_image_entropy(trace, mode="head"),
    ),
)
SIGNALS: Final[dict[str, WordSignal]] = {signal.name: signal for signal in _ALL}


def chosen_signals(names: Sequence[str] | None, trace: Trace) -> tuple[tuple[WordSignal, ...], tuple[str, ...]]:
    """The signals to read, and the names of those left out because the trace lacks what they need.

    Args:
        names: Names to read; None for all that the trace allows.
        trace: The first trace: the others must hold as much.

    Returns:
        Signals in the registry's order, and what was left out with the reason.

    Raises:
        EvaluationError: An unknown name, or a named signal that the trace cannot give.
    """
    unknown = sorted(set(names or ()) - set(SIGNALS))
    if unknown or (names is not None and not names):
        received = f"{', '.join(unknown) or 'no signal at all'}"
        raise EvaluationError(message("read signals at words", received, ", ".join(SIGNALS), "choose among these"))
    wanted = [signal for signal in _ALL if names is None or signal.name in names]
    missing = {signal.name: _lacking(signal, trace) for signal in wanted if not signal.available(trace)}
    if names is not None and missing:
        name, reason = next(iter(missing.items()))
        raise EvaluationError(message(f"read {name} at words", f"a trace without {reason}", *_cure(reason)))
    chosen = tuple(signal for signal in wanted if signal.name not in missing)
    return chosen, tuple(f"{name} (no {reason})" for name, reason in missing.items())


def at_words(signal: WordSignal, trace: Trace, steps: Sequence[tuple[int, ...]], tokens: Tokens) -> np.ndarray:
    """The signal's values at words.

    Args:
        signal: What to read; heads are averaged.
        trace: Where from.
        steps: The steps of each word.
        tokens: `"first"`: at the token that decided on the word; `"mean"`: over all its tokens.

    Returns:
        float64 [word, layer], one layer for a signal without layers. NaN where the signal has no value.
    """
    array = signal.compute(trace)
    if "head" in array.dims:
        array = array.mean("head")
    layered = array if "layer" in array.dims else array.expand_dims("layer")
    values = layered.transpose("step", "layer").to_numpy().astype(np.float64)
    rows = [values[list(word)].mean(0) if tokens == "mean" else values[word[0]] for word in steps]
    return np.array(rows).reshape(len(rows), values.shape[1])


def _lacking(signal: WordSignal, trace: Trace) -> str:
    lacking = [part for part in signal.needs if getattr(trace, part) is None]
    return lacking[0] if lacking else "image keys"


def _cure(reason: str) -> tuple[str, str]:
    argument = {"gradient": "gradients=True", "hidden_states": "hidden_states=True"}.get(reason)
    if argument is None:
        return "traces of a picture", "trace a prompt with an image"
    return f"a trace made with {argument}", f"pass {argument} to lvlmscope.trace"
