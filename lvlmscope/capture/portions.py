"""What of an answer is held at once, so that a trace stays within the memory allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from lvlmscope.capture.memory_limit import estimate_inputs, fit_into, parse_size
from lvlmscope.capture.options import TraceOptions
from lvlmscope.models.families import Family

__all__ = ["Portions", "portions"]

# Rows as they came, as a trace, and what signals make of them for a while
_REDUCING: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Portions:
    """What of an answer is held at once.

    Attributes:
        layerwise: The graph of one layer at a time.
        window: Steps that are replayed and reduced to signals at a time, None for all.
    """

    layerwise: bool = False
    window: int | None = None


def portions(
    options: TraceOptions,
    model: torch.nn.Module,
    family: Family,
    inputs: Mapping[str, Any],
    steps: int,
    *,
    edited: bool,
    mixing: int = 0,
) -> Portions:
    """What must be held at once, and what may not be, to stay within ``max_memory``.

    Args:
        options: What the trace is to keep.
        family: Its family's rules.
        inputs: Model inputs.
        steps: Answer tokens at most.
        edited: Whether interventions are on: what they know of an answer goes through it from its start.
        mixing: Bytes that those of them which mix logits take.

    Returns:
        Everything at once where it fits; otherwise some steps at a time where signals allow it, or the graph of one
        layer at a time.

    Raises:
        MemoryLimitError: Nothing fits; the message names what would.
    """
    whole = [each.name for each in options.signals if not each.stepwise]
    if options.signals and not whole and not edited and (size := _window(options, model, family, inputs, steps)):
        return Portions(window=size)
    limit = parse_size(options.max_memory or "")
    reads = f"; without {', '.join(whole)} some steps at a time can be read" if whole and not edited else ""
    held: dict[str, Any] = {"copies": _REDUCING if options.signals else 2, "otherwise": reads}
    held["mixing"] = mixing
    return Portions(layerwise=fit_into(limit, model, family, inputs, steps, **held, **_kept(options)))


def _window(
    options: TraceOptions, model: torch.nn.Module, family: Family, inputs: Mapping[str, Any], steps: int
) -> int | None:
    """Steps that may be replayed and reduced to signals at a time within ``max_memory``.

    Args:
        options: The signals, and what they need.
        family: Its family's rules.
        inputs: Model inputs.
        steps: Answer tokens at most.

    Returns:
        As many as fit; None where the whole answer fits, or where not even one step does.
    """
    limit = parse_size(options.max_memory or "")

    def peak(size: int) -> int:
        return estimate_inputs(model, family, inputs, size, **_kept(options), before=steps - size).held(_REDUCING)

    if peak(steps) <= limit or peak(1) > limit:
        return None
    low, high = 1, steps  # the first fits, the second does not
    while high - low > 1:
        between = (low + high) // 2
        low, high = (between, high) if peak(between) <= limit else (low, between)
    return low


def _kept(options: TraceOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("gradients", "hidden_states", "keep", "precision")}
