"""``generate`` of a model that has interventions on, and copies of it."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from lvlmscope.errors import ModelInputError, message
from lvlmscope.hooks.instance_attributes import shadowed
from lvlmscope.hooks.user_code import calling
from lvlmscope.models.padded_batches import padding_mask, refuse_padding
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.edit_record import EditRecord
from lvlmscope.runtime.generation_settings import resolve_settings
from lvlmscope.runtime.logit_mixing import mixing_logits, prompt_arguments_of
from lvlmscope.runtime.model_hooks import Instrumentation

__all__ = ["generating_with"]


@contextmanager
def generating_with(instrumentation: Instrumentation, lifted: Callable[[], Any]) -> Iterator[None]:
    """Let ``generate`` tell the prompt's length and take the interventions' logits processors along.

    Args:
        instrumentation: The model's; threads in which nothing acts reach the model's own ``generate``.
        lifted: Makes a context in which the model is as it was, for copies of it.

    Yields:
        Nothing; afterwards the model has the ``generate`` that it had, the user's own among them.
    """
    model: Any = instrumentation.model

    def deep_copy(memo: dict[int, Any]) -> Any:
        with lifted():
            return copy.deepcopy(model, memo)

    with ExitStack() as stack:
        stack.enter_context(shadowed(model, "__deepcopy__", deep_copy))
        if hasattr(model, "generate"):
            stack.enter_context(shadowed(model, "generate", _wrapped(instrumentation, model.generate)))
        yield


def _wrapped(instrumentation: Instrumentation, original: Callable[..., Any]) -> Callable[..., Any]:
    core = instrumentation.family.core(instrumentation.model)

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        if not instrumentation.active:
            return original(*args, **kwargs)
        given = dict(zip(("inputs", "generation_config"), args, strict=False))  # generate's own order
        ids = next(
            (value for name in ("input_ids", "inputs") if (value := (given | kwargs).get(name)) is not None), None
        )
        if ids is None:
            fix = "pass input_ids, so that image positions are known"
            raise ModelInputError(message("no input_ids", "input_ids", fix, task="generate with an intervention"))
        settings = resolve_settings(core, given | kwargs)
        mask = padding_mask(ids, kwargs.get("attention_mask"), settings)
        refuse_padding(instrumentation.model, instrumentation.family, mask)
        # One at a time: an intervention's session follows one answer
        with (
            instrumentation.lock,
            instrumentation.generation(ids, kwargs | settings.to_dict(), prompt_arguments_of(given | kwargs, settings)),
            mixing_logits(instrumentation, given | kwargs, settings),
        ):
            if processors := [p for each in instrumentation.active if (p := _processor(each)) is not None]:
                kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or []), *processors])
            return original(*args, **kwargs)

    return generate


def _processor(each: ActiveIntervention) -> LogitsProcessor | None:
    processor = each.call("logits_processor")
    return None if processor is None else _NamedProcessor(processor, each.name, each.record)


class _NamedProcessor(LogitsProcessor):
    """An intervention's logits processor, whose failures and NaN name the intervention."""

    def __init__(self, processor: LogitsProcessor, name: str, record: EditRecord) -> None:
        self.processor = processor
        self.name = name
        self.record = record

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        spoiled = scores.isnan()  # before: the processor may write into the scores
        with calling(f"the intervention {self.name}, in its logits processor"):
            new: torch.Tensor = self.processor(input_ids, scores)
        self.record.scores(new.isnan() > spoiled)
        return new
