"""The part function: a part's items to the signals of each, failures recorded, batches that are too large halved.

All engines run this function on the same parts, so that they give the same rows.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import torch

from lvlmscope.capture.options import TraceOptions
from lvlmscope.capture.traced_batch import reduce_prepared
from lvlmscope.errors import InterventionError, LvlmscopeError, UnsupportedModelError, UnsupportedOptionError
from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.item_prompts import prompt_of
from lvlmscope.inputs.preparation import ModelInputs, join, prepare
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.runtime.attachment import intervene
from lvlmscope.sweeps.settings import SweepSettings, item_seed
from lvlmscope.traces.signal_trace import SignalTrace

__all__ = ["FailedItem", "SweptItem", "run_part"]

Result = TypeVar("Result")
# Errors of the call, which no other item would escape, and errors that an item may have for itself
_OF_THE_CALL: Final = (UnsupportedModelError, UnsupportedOptionError, InterventionError)
_OF_AN_ITEM: Final = (LvlmscopeError, RuntimeError, ValueError, OSError, MemoryError)


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
        model: The model.
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
        inputs = _tried(partial(_prepared, model, item, settings))
        if isinstance(inputs, BaseException):
            results[item.id] = _failed(item, "image", inputs)
        else:
            ready.append(_Ready(item, inputs))
    results |= {result.item.id: result for result in _together(model, ready, settings, options)}
    return [results[item.id] for item in items]


def _prepared(model: LoadedModel, item: Item, settings: SweepSettings) -> ModelInputs:
    return prepare(item.open(), prompt_of(item, settings.prompt), model.processor, model.family)


def _together(
    model: LoadedModel, ready: Sequence[_Ready], settings: SweepSettings, options: TraceOptions
) -> list[SweptItem | FailedItem]:
    """Results of one batch: halved where memory is too small for it, one by one where an item spoils it."""
    if not ready:
        return []
    found = _tried(partial(_traced, model, ready, settings, options))
    if not isinstance(found, BaseException):
        pairs = zip(ready, found, strict=True)
        return [SweptItem(item=one.item, trace=trace, batch_size=len(ready)) for one, trace in pairs]
    if len(ready) == 1:
        return [_failed(ready[0].item, "trace", found)]
    size = (len(ready) + 1) // 2 if _out_of_memory(found) else 1
    del found  # its frames hold the batch
    _free_memory()
    parts = [ready[start : start + size] for start in range(0, len(ready), size)]
    return [result for part in parts for result in _together(model, part, settings, options)]


def _traced(
    model: LoadedModel, ready: Sequence[_Ready], settings: SweepSettings, options: TraceOptions
) -> list[SignalTrace]:
    batch = join([one.inputs for one in ready], model.family)
    seeds = [item_seed(settings.seed, one.item.id) for one in ready]
    return reduce_prepared(model, model.family, batch, options, generation=dict(settings.generation), seed=seeds)


def _tried(call: Callable[[], Result]) -> Result | BaseException:
    """What a call gives, or the error that it raises for the item."""
    try:
        return call()
    except _OF_THE_CALL:
        raise
    except _OF_AN_ITEM as error:
        return error.with_traceback(None)


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small: that of a GPU, of the process, or what `max_memory` allows."""
    # On the CPU torch raises a plain RuntimeError of its allocator
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failed(item: Item, stage: str, error: BaseException) -> FailedItem:
    return FailedItem(item=item, stage=stage, kind=type(error).__name__, text=str(error))
