"""What a sweep does to every item, as data that travels to other processes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.signal_reduction import reducing
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.word_values import Tokens

__all__ = ["SweepSettings", "item_seed", "parts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Options that hold for all items.

    Attributes:
        signals: Names; None for all that the parts below allow.
        interventions: Act together, in order.
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        tokens: Which tokens of a word are read.
        prompt: As for ``evaluate``.
        batch_size: Items that are generated together.
        part_size: Items of one part.
        seed: Of sampling; each item has a seed of its own, made of this one and its id.
        max_memory: As for ``trace``, for a batch; a larger batch is halved.
        generation: Keyword arguments of ``generate``.
    """

    signals: tuple[str, ...] | None
    interventions: tuple[Intervention, ...] = ()
    gradients: bool = False
    hidden_states: bool = False
    tokens: Tokens = "first"
    prompt: str | None = None
    batch_size: int = 8
    part_size: int = 16
    seed: int = 0
    max_memory: int | str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def trace_options(self) -> TraceOptions:
        """What each batch is reduced to.

        Raises:
            EvaluationError: An unknown signal, or one that cannot be read from a trace alone.
        """
        parts = {"gradients": self.gradients, "hidden_states": self.hidden_states}
        return reducing(self.signals, **parts, max_memory=self.max_memory)


def item_seed(seed: int, item_id: str) -> int:
    """The seed of an item's sampling, wherever it stands in a data set, part or batch.

    >>> item_seed(0, "a") == item_seed(0, "a") != item_seed(0, "b")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{item_id}".encode()).digest()[:8], "big") >> 1


def parts_of(dataset: Dataset, size: int) -> list[tuple[Item, ...]]:
    """The items in parts of that size, in order: a part is made of the same items whoever runs it.

    Args:
        size: Items of a part; the last one may have fewer.
    """
    items = dataset.items
    return [items[start : start + size] for start in range(0, len(items), size)]
