"""The part function: a part's items to the signals of each, failures recorded, batches that are too large halved.

All engines run this function on the same parts, so that they give the same rows.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lvlmscope.capture.batch_fallback import attempted, done_or_failed
from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.traced_batch import replay_prepared
from lvlmscope.errors import InterventionError, UnsupportedModelError, UnsupportedOptionError
from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.item_prompts import prompt_of
from lvlmscope.inputs.preparation import ModelInputs, join, prepare
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.runtime.attachment import intervene
from lvlmscope.sweeps.settings import SweepSettings, item_seed
from lvlmscope.traces.signal_trace import SignalTrace

__all__ = ["FailedItem", "SweptItem", "run_part"]

# The call itself is wrong, and no other item would fare better
_OF_THE_CALL: Final = (UnsupportedModelError, UnsupportedOptionError, InterventionError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweptItem:
    """An item with its answer and signals.

    Attributes:
        item: The item.
        trace: Its words and signals.
        batch_size: Items that were generated together with it, itself counted.
    """

    item: Item
    trace: SignalTrace
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailedItem:
    """An item without an answer.

    Attributes:
        item: The item.
        stage: `"image"`: it could not be opened or prepared; `"trace"`: the model failed on it.
        kind: Class of the error.
        text: Its text.
    """

    item: Item
    stage: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Ready:
    item: Item
    inputs: ModelInputs


def run_part(
    model: LoadedModel, items: Sequence[Item], settings: SweepSettings, progress: Callable[[int], Any]
) -> list[SweptItem | FailedItem]:
    """What each item of a part gives, in order.

    Args:
        items: The part's items.
        settings: What is done.
        progress: Called with the number of items that are finished.

    Returns:
        One result for each item.

    Raises:
        LvlmscopeError: An error of the call: a model, an option or an intervention that cannot be used.
    """
    options, found = settings.trace_options(), []
    stack = settings.interventions
    with intervene(model, *stack, family=model.family) if stack else nullcontext():
        for start in range(0, len(items), settings.batch_size):
            batch = items[start : start + settings.batch_size]
            found += _batch(model, batch, settings, options)
            progress(len(batch))
    return found


def _batch(
    model: LoadedModel, items: Sequence[Item], settings: SweepSettings, options: TraceOptions
) -> list[SweptItem | FailedItem]:
    results: dict[str, SweptItem | FailedItem] = {}
    ready: list[_Ready] = []
    for item in items:
        inputs = attempted(_prepared, model, item, settings)
        if isinstance(inputs, Exception):
            results[item.id] = _failed(item, "image", inputs)
        else:
            ready.append(_Ready(item, inputs))
    run = partial(_traced, model, settings=settings, options=options)
    for one, found in zip(ready, done_or_failed(ready, run), strict=True):
        if isinstance(found, Exception):
            results[one.item.id] = _failed(one.item, "trace", found)
        else:
            results[one.item.id] = SweptItem(item=one.item, trace=found.result, batch_size=found.batch_size)
    return [results[item.id] for item in items]


def _prepared(model: LoadedModel, item: Item, settings: SweepSettings) -> ModelInputs:
    return prepare(item.open(), prompt_of(item, settings.prompt), model.processor, model.family)


def _traced(
    model: LoadedModel, ready: Sequence[_Ready], *, settings: SweepSettings, options: TraceOptions
) -> list[SignalTrace]:
    batch = join([one.inputs for one in ready], model.family)
    seeds = [item_seed(settings.seed, one.item.id) for one in ready]
    generation = dict(settings.generation)
    return replay_prepared(model, model.family, batch, options, generation=generation, seed=seeds).signals()


def _failed(item: Item, stage: str, error: Exception) -> FailedItem:
    """The item's record; an error of the call itself is raised."""
    if isinstance(error, _OF_THE_CALL):
        raise error
    return FailedItem(item=item, stage=stage, kind=type(error).__name__, text=str(error))
