"""Signals read at words, by name: what each is computed from, what it needs, which values are suspicious."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

import xarray as xr

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.registry import Registry
from lvlmscope.traces.array_attributes import name_of_part
from lvlmscope.traces.shared_rows import computed_once
from lvlmscope.traces.trace import Trace

__all__ = ["SIGNALS", "UNKNOWN_SIGNAL", "Kind", "Needed", "WordSignal", "signal"]

Kind = Literal["baseline", "confidence", "attention", "gradient", "hidden", "lens"]
Needed = Literal["gradient", "hidden_states", "model"]
Compute = TypeVar("Compute", bound=Callable[..., xr.DataArray])


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSignal:
    """A signal with one value for each layer and step, or for each step.

    Attributes:
        name: Its name in tables.
        kind: What it is read from: the next-token distribution (`"confidence"`), attention, gradients, hidden states,
            or the image tokens through the logit lens; `"baseline"` for what is known without looking into the model.
        suspicious: The side that its paper, or common sense, connects with hallucinated words; None where there is no
            claim.
        compute: From a trace (and the model, where that is needed) to an array with dims among layer, head, step, and
            those that `part` names.
        needs: Optional parts of a trace that it reads, and `"model"` for one that runs the model once more.
        description: One line on what it measures.
        options: Given to `compute` by name.
        part: Entries to take of other dims of the array, such as `{"measure": "entropy"}`.
        positional: Whether `compute` finds values by their positions alone, never by coordinates of step, layer, head
            or key; where only numbers are kept these are then not made.
        stepwise: Whether a step's value follows from that step's own rows, states and probabilities, however many
            tokens of the answer are told as its prompt; long answers can then be read some steps at a time.
    """

    name: str
    kind: Kind
    suspicious: Literal["low", "high"] | None
    compute: Callable[..., xr.DataArray]
    needs: tuple[Needed, ...] = ()
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    part: Mapping[str, str] = field(default_factory=dict)
    positional: bool = False
    stepwise: bool = False

    def lacking(self, trace: Trace, model: Any) -> str:
        """What of a trace, or beside it, is missing for the signal; empty when all is there."""
        if self.kind not in {"confidence", "baseline"} and not bool(trace.image_keys.any()):
            return "image keys"
        given = {"model": model, "gradient": trace.gradient, "hidden_states": trace.hidden_states}
        return next((part for part in self.needs if given[part] is None), "")

    def read(self, trace: Trace, model: Any = None) -> xr.DataArray:
        """The signal of one trace; heads, where there are any, are kept.

        Inside `sharing_rows` a function that stands for several signals is computed once.

        Args:
            model: For signals that run it once more.
        """
        given = (model,) if "model" in self.needs else ()
        found = computed_once(self.compute, trace, *given, **self.options)
        if not self.part:
            return found
        long_name = name_of_part(str(found.attrs.get("long_name", self.name)), self.part)
        places = {dim: found[dim].values.tolist().index(one) for dim, one in self.part.items()}  # faster than by label
        part = found.isel(places, drop=True)
        part.attrs["long_name"] = long_name
        return part


# The signals of this package come by entry points too, as those of any other
SIGNALS: Final[Registry[WordSignal]] = Registry("signal", "lvlmscope.signals", EvaluationError)
UNKNOWN_SIGNAL: Final = (
    "choose one of these, or register it with @lv.signal (on the command line in a file that --load names)"
)


def signal(
    *,
    name: str,
    kind: Kind,
    suspicious: Literal["low", "high"] | None = None,
    needs: tuple[Needed, ...] = (),
    description: str | None = None,
    options: Mapping[str, Any] | None = None,
    part: Mapping[str, str] | None = None,
    positional: bool = False,
    stepwise: bool = False,
) -> Callable[[Compute], Compute]:
    """Registers the function below it as a signal that is read at words; the function itself stays as it is.

    Args:
        name: Its name in tables.
        kind: What it is read from, as in `WordSignal`.
        suspicious: The side that is connected with hallucinated words; None where there is no claim.
        needs: Optional parts of a trace that it reads, and `"model"` for one that runs the model once more.
        description: One line on what it measures; None for the first line of the function's docstring.
        options: Options of the function under which it is this signal; a function may stand for several.
        part: Entries to take of dims beside layer, head and step, such as `{"measure": "entropy"}`.
        positional: Whether the function finds values by position alone, never by coordinates of step, layer, head or
            key: sweeps are then faster.
        stepwise: Whether a step's value follows from that step's own rows, states and probabilities, however many
            tokens of the answer are told as its prompt: answers too long for `max_memory` are then read some steps at a
            time.

    Returns:
        The decorator.

    Raises:
        EvaluationError: The name is taken, or the kind, the side or a need is none of those above.
    """
    with task(f"register the signal {name!r}"):
        _require("kind", (kind,), get_args(Kind))
        _require("suspicious", (suspicious,), ("low", "high", None))
        _require("needs", needs, get_args(Needed))

    def registered(compute: Compute) -> Compute:
        text = (inspect.getdoc(compute) or "").partition("\n")[0] if description is None else description
        found = WordSignal(
            name=name,
            kind=kind,
            suspicious=suspicious,
            compute=compute,
            needs=tuple(needs),
            description=text,
            options=dict(options or {}),
            part=dict(part or {}),
            positional=positional,
            stepwise=stepwise,
        )
        SIGNALS.register(name, found, source=compute)
        return compute

    return registered


def _require(option: str, given: Iterable[Any], known: tuple[Any, ...]) -> None:
    for each in given:
        if each not in known:
            expected = ", ".join(map(repr, known))
            raise EvaluationError(message(f"{option}={each!r}", expected, "choose among these"))
