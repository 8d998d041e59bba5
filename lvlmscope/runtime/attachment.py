"""Interventions switched on in a model: ``intervene`` for a block, ``attach`` until removed, alone or stacked."""

import functools
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import LogitsProcessorList

from lvlmscope.errors import InterventionError, ModelInputError, UnsupportedModelError, message, task
from lvlmscope.models.families import Family, family_of
from lvlmscope.models.loaded_model import unwrap
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.generation_settings import resolve_settings
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session

__all__ = ["Handle", "Intervention", "ModelInfo", "Session", "attach", "instrumentation_of", "intervene", "stack_of"]

_TASK = "switch on an intervention"

# The hooks of each model, kept while anything is attached: stacked and nested interventions share it.
_INSTRUMENTED: "weakref.WeakKeyDictionary[torch.nn.Module, Instrumentation]" = weakref.WeakKeyDictionary()


class Handle:
    """Interventions attached to one model by one call."""

    def __init__(self, instrumentation: Instrumentation, active: tuple[ActiveIntervention, ...]) -> None:
        """Keep what ``attach`` added.

        Args:
            instrumentation: The model's hooks.
            active: The active interventions, in order.
        """
        self._instrumentation = instrumentation
        self._active = active
        self._attached = True

    def __repr__(self) -> str:
        """The interventions in the order in which they act."""
        return f"Handle({' -> '.join(p.name for p in self._active)}{'' if self._attached else ', removed'})"

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """The interventions in order."""
        return tuple(p.intervention for p in self._active)

    def report(self) -> tuple[dict[str, Any], ...]:
        """What each intervention has edited so far, in order (JSON values); also after removal."""
        return tuple(p.report() for p in self._active)

    def remove(self) -> None:
        """Remove the interventions; the model is as before once the last one is gone. A second call does nothing.

        An intervention that ran and changed nothing warns with the reason, unless it was set to strength 0.
        """
        if self._attached:
            self.withdraw()
            for report in self.report():
                if reason := report.get("no_effect_reason"):
                    text = f"{report['name']} changed nothing in {report['forwards']} forwards: {reason}."
                    warnings.warn(text, UserWarning, stacklevel=2)

    def withdraw(self) -> None:
        """As `remove`, without the warning: after an exception the exception comes first."""
        if self._attached:
            self._attached = False
            _leave(self._instrumentation, self._active)


def instrumentation_of(model: Any) -> Instrumentation | None:
    """The hooks of a model that has something attached, None otherwise.

    Args:
        model: What ``load`` gave, or a bare model.

    Returns:
        The instrumentation, or None.
    """
    return _INSTRUMENTED.get(unwrap(model))


@task(_TASK)
def stack_of(interventions: Any) -> tuple[Intervention, ...]:
    """Interventions to switch on, in order; a single one stands for a list of it.

    Args:
        interventions: Interventions, one intervention, or None for none.

    Returns:
        The interventions; what is none among them ``attach`` refuses.

    Raises:
        InterventionError: A name, or something else that is neither an intervention nor a list.
    """
    if interventions is None:
        return ()
    if isinstance(interventions, Intervention) and not isinstance(interventions, type):
        return (interventions,)
    if isinstance(interventions, str) or not isinstance(interventions, Iterable):
        fix = "pass interventions=[lv.DLEAF()], or another intervention (lvlmscope interventions lists them)"
        raise InterventionError(message(f"{interventions!r}"[:80], "a list of interventions", fix))
    return tuple(interventions)


@task(_TASK)
def attach(model: Any, *interventions: Intervention, family: Family | None = None) -> Handle:
    """Switch interventions on until ``handle.remove()``.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        *interventions: Interventions in the order in which they act; each sees the edits of those before it.
            Interventions that are on already act before these.
        family: Rules of the model's family, found by itself when None.

    Returns:
        The handle, with ``remove()`` and ``report()``.

    Raises:
        InterventionError: Something given is no intervention, is given twice, or chooses the tokens as another one
            does.
        UnsupportedModelError: The model's attention cannot be reached.
    """
    bare = unwrap(model)
    for intervention in interventions:
        if isinstance(intervention, type) or not isinstance(intervention, Intervention):
            got = f"{intervention!r}"[:80]
            fix = "pass an instance such as lv.DLEAF()"
            raise InterventionError(message(got, "objects with start and describe", fix))
    family = family or getattr(model, "family", None) or family_of(bare)
    if family.crossing_layers(bare):
        got = f"{type(bare).__name__}, which looks at the image in cross-attention layers"
        expected, fix = "models with image tokens in the decoder's sequence", "trace it without interventions"
        raise UnsupportedModelError(message(got, expected, fix))
    instrumentation = _INSTRUMENTED.get(bare) or Instrumentation(bare, family)
    _refuse_twice(interventions)
    active = tuple(ActiveIntervention(i, i.start(instrumentation.model_info)) for i in interventions)
    activate(instrumentation, active)
    return Handle(instrumentation, active)


def _refuse_twice(interventions: Sequence[Intervention]) -> None:
    """One list with equal interventions is a slip; a block within a block is not."""
    for number, intervention in enumerate(interventions):
        if intervention in interventions[:number]:
            got = f"{intervention!r} twice"
            expected, fix = "every intervention once, or again with other parameters", "leave one out"
            raise InterventionError(message(got, expected, fix))


@contextmanager
def intervene(model: Any, *interventions: Intervention, family: Family | None = None) -> Iterator[Handle]:
    """Switch interventions on inside a ``with`` block; afterwards, also after an exception, the model is as before.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        *interventions: Interventions in the order in which they act.
        family: Rules of the model's family, found by itself when None.

    Yields:
        The handle, whose ``report()`` says what was edited.

    Raises:
        InterventionError: Something given is no intervention, or is given twice.
        UnsupportedModelError: The model's attention cannot be reached.
    """
    handle = attach(model, *interventions, family=family)
    try:
        yield handle
    except BaseException:
        handle.withdraw()
        raise
    handle.remove()


def activate(instrumentation: Instrumentation, active: tuple[ActiveIntervention, ...]) -> None:
    """Add interventions to a model's hooks, which are installed with the first.

    Args:
        instrumentation: The model's hooks.
        active: Interventions to add after those already there.

    Raises:
        InterventionError: Two interventions that both choose the tokens; nothing is left behind.
        UnsupportedModelError: The model's attention cannot be reached; nothing is left behind.
    """
    choosing = [p.name for p in (*instrumentation.active, *active) if p.session.chooses_tokens]
    if len(choosing) > 1:
        got = f"{' and '.join(choosing)}, which each choose every token"
        fix = "leave one out, or take the other off first"
        raise InterventionError(message(got, "one that chooses tokens", fix, task="switch on interventions together"))
    instrumentation.active.extend(active)
    try:
        instrumentation.sync_hooks()
    except BaseException:
        _leave(instrumentation, active)
        raise
    if instrumentation.model not in _INSTRUMENTED:
        _INSTRUMENTED[instrumentation.model] = instrumentation
        _shadow_generate(instrumentation)


def _leave(instrumentation: Instrumentation, active: tuple[ActiveIntervention, ...]) -> None:
    for each in active:
        instrumentation.active.remove(each)
    if instrumentation.active:
        instrumentation.sync_hooks()
        return
    instrumentation.remove()
    if _INSTRUMENTED.pop(instrumentation.model, None) is not None:
        vars(instrumentation.model).pop("generate", None)


def _shadow_generate(instrumentation: Instrumentation) -> None:
    """Let ``generate`` pass on the prompt's length and take the interventions' logits processors along."""
    original = getattr(instrumentation.model, "generate", None)
    if original is None:
        return

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        ids = next((kwargs[n] for n in ("input_ids", "inputs") if kwargs.get(n) is not None), args[0] if args else None)
        if ids is None:
            fix = "pass input_ids, so that image positions are known"
            raise ModelInputError(message("no input_ids", "input_ids", fix, task="generate with an intervention"))
        given = dict(zip(("inputs", "generation_config"), args, strict=False))  # generate's own order
        settings = resolve_settings(instrumentation.family.core(instrumentation.model), given | kwargs)
        with instrumentation.generation(ids, kwargs | settings.to_dict()):
            processors = [p for s in instrumentation.sessions if (p := s.logits_processor()) is not None]
            if processors:
                kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or []), *processors])
            return original(*args, **kwargs)

    vars(instrumentation.model)["generate"] = generate
