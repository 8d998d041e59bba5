"""What tracing an example gave: a trace, or a record of why there is none; and the refusal of anything but traces."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

import torch

from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.attention.option_checks import each_of, whole_number
from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.trace import Trace

__all__ = [
    "FailedExample",
    "OneStep",
    "at_step",
    "chosen_layers",
    "decoder_depth",
    "require_all_keys",
    "require_image",
    "require_trace",
    "require_traces",
    "required_part",
]

_NAMED: Final = 3
_KEEP: Final = "keep the others: [t for t in traces if isinstance(t, lv.Trace)], and their labels with them"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExample:
    """An example that could not be traced.

    Attributes:
        index: Its place among the examples, 0-based.
        example: What was given.
        error: What was raised.
    """

    index: int
    example: Any = field(repr=False)
    error: Exception

    def __str__(self) -> str:
        """Place, kind of error and its text."""
        return f"example {self.index}: {type(self.error).__name__}: {self.error}"


def require_trace(given: Any) -> Trace:
    """A trace as it is; anything else is refused with what to pass.

    Args:
        given: What should be a trace.

    Returns:
        The trace.

    Raises:
        ModelInputError: A path, an example that failed, or something else.
    """
    if isinstance(given, Trace):
        return given
    got, fix = type(given).__name__, "pass what lv.trace or lv.load_trace returns"
    if isinstance(given, str | os.PathLike):
        got, fix = f"the text {os.fspath(given)!r}"[:80], f"pass lv.load_trace({os.fspath(given)!r}) for a file"
    elif isinstance(given, FailedExample):
        got, fix = f"one that failed ({given})", _KEEP
    raise ModelInputError(message(got, "a trace", fix))


def require_traces(given: Iterable[Any]) -> Iterator[Trace]:
    """Traces as they come; the first value that is not a trace is refused.

    Args:
        given: What should be traces; of a list all that failed are named.

    Yields:
        The traces.

    Raises:
        ModelInputError: A value is not a trace.
    """
    for one in each_of("traces", given, "traces"):
        if isinstance(one, FailedExample) and isinstance(given, Sequence):
            failed = [each for each in given if isinstance(each, FailedExample)]
            listed = "; ".join(map(str, failed[:_NAMED])) + ("; ..." if len(failed) > _NAMED else "")
            got = f"{len(failed)} of {len(given)} that failed ({listed})"
            raise ModelInputError(message(got, "traces alone", _KEEP))
        yield require_trace(one)


def require_image(trace: Trace) -> None:
    """Refuse a trace without image keys.

    Raises:
        ModelInputError: There are none, or it is no trace.
    """
    if not bool(require_trace(trace).image_keys.any()):
        got, fix = "a trace without image keys", "trace a prompt with an image"
        raise ModelInputError(message(got, "traces of an image", fix))


OneStep = int | Literal["mean"]


def require_all_keys(trace: Trace) -> None:
    """Refuse a trace whose rows were cut to some keys and sum to less than 1.

    Raises:
        ModelInputError: Keys were left out.
    """
    if require_trace(trace).kept_keys != "all":
        got, fix = "a trace that kept the keys of image and answer only", "pass keep='all' to lvlmscope.trace"
        raise ModelInputError(message(got, "traces of all keys", fix))


def required_part(trace: Trace, part: Literal["gradient", "hidden_states"]) -> torch.Tensor:
    """An optional part of a trace.

    Args:
        part: Its field.

    Returns:
        The tensor.

    Raises:
        ModelInputError: The trace was made without it; the message names the argument that keeps it.
    """
    found: torch.Tensor | None = getattr(require_trace(trace), part)
    if found is None:
        argument = "gradients=True" if part == "gradient" else "hidden_states=True"
        got, fix = f"a trace without {part}", f"pass {argument} to lvlmscope.trace"
        raise ModelInputError(message(got, f"a trace made with {argument}", fix))
    return found


def at_step(trace: Trace, values: torch.Tensor, step: OneStep) -> torch.Tensor:
    """One step of values, or their mean over the steps that have one.

    Args:
        trace: Where they come from.
        values: `[step, ...]`.
        step: A step, negative numbers count from the end; or `"mean"`.

    Returns:
        `[...]`.

    Raises:
        ModelInputError: A step that the trace does not have.
    """
    if isinstance(step, str) and step == "mean":
        return values.nanmean(0)
    number = whole_number(step)
    if number is None or number not in range(-trace.num_steps, trace.num_steps):
        expected = f"a whole number from {-trace.num_steps} to {trace.num_steps - 1}, or 'mean'"
        raise ModelInputError(message(f"step={step!r}"[:80], expected, "choose another step"))
    return values[number]


def decoder_depth(trace: Trace) -> int:
    """Number of the model's decoder layers, those without attention rows counted where the trace shows them."""
    last = trace.layer_indices[-1] + 1
    return last if trace.hidden_states is None else max(last, trace.hidden_states.shape[1] - 1)


def chosen_layers(trace: Trace, layers: LayerSpec, *, name: str = "layers") -> list[int]:
    """Places on the layer axis of the layers that a specification names.

    Args:
        layers: Layer numbers or a band of depth, as in `lvlmscope.resolve_layers`.
        name: What the option is called, for messages.

    Returns:
        Places, ascending. A band counts the layers with attention rows, the only ones on that axis.

    Raises:
        ModelInputError: A number without attention rows, or layers outside the model.
    """
    depth, known = decoder_depth(trace), trace.layer_indices
    if isinstance(layers, tuple):  # the default bands of signals, asked for in every trace of a sweep
        return list(_places(layers, tuple(map(type, layers)), depth, known, name))
    return [known.index(number) for number in resolve_layers(layers, depth, known, name=name)]


@lru_cache(maxsize=256)
def _places(
    layers: tuple[Any, ...], types: tuple[type, ...], depth: int, known: tuple[int, ...], name: str
) -> tuple[int, ...]:
    """Places of layers; the types tell a band (0.0, 1.0) from the layers (0, 1)."""
    del types
    return tuple(known.index(number) for number in resolve_layers(layers, depth, known, name=name))
