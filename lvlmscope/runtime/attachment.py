"""Interventions switched on in a model: ``intervene`` for a block, ``attach`` until removed, alone or stacked."""

import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch

from lvlmscope.errors import InterventionError, UnsupportedModelError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, unwrap
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.generate_wrapper import generating_with
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session
from lvlmscope.runtime.stack_checks import refuse_two_choosers, require_interventions, warn_of_uncompiled

__all__ = [
    "Handle",
    "Intervention",
    "ModelInfo",
    "Session",
    "attach",
    "attached",
    "detach",
    "instrumentation_of",
    "intervene",
    "stack_of",
    "switch_on",
]

_TASK: Final = "switch on an intervention"

# One instrumentation a model, alive while anything is attached: stacked and nested interventions share it.
_INSTRUMENTED: "Final[weakref.WeakKeyDictionary[torch.nn.Module, Instrumentation]]" = weakref.WeakKeyDictionary()
# What shows on the model itself while it is instrumented
_WRAPPED: "Final[weakref.WeakKeyDictionary[torch.nn.Module, ExitStack]]" = weakref.WeakKeyDictionary()
_ACCESS: Final = threading.RLock()


class Handle:
    """Interventions attached to one model by one call."""

    def __init__(self, instrumentation: Instrumentation, active: tuple[ActiveIntervention, ...]) -> None:
        """Hold what was attached.

        Args:
            instrumentation: The model's.
            active: The interventions at work, in order.
        """
        self._instrumentation = instrumentation
        self._active = active

    def __repr__(self) -> str:
        """The interventions in the order in which they act."""
        return f"Handle({' -> '.join(p.name for p in self._active)}{'' if self._left else ', removed'})"

    @property
    def _left(self) -> list[ActiveIntervention]:
        """Those that are still on: another call of ``attach`` replaces equal ones, ``detach`` clears all."""
        return [each for each in self._active if each in self._instrumentation.attached]

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """The interventions in order."""
        return tuple(p.intervention for p in self._active)

    def report(self) -> tuple[dict[str, Any], ...]:
        """What each intervention has edited so far, in order (JSON values); also after removal."""
        return tuple(p.report() for p in self._active)

    def remove(self) -> None:
        """Take the interventions off; the model is as before once the last one is gone. A second call does nothing.

        An intervention that changed nothing, or never ran, warns with the reason, unless it was set to strength 0.
        """
        left = self._left
        self.withdraw()
        for each in left:
            report = each.report()
            if reason := report.get("no_effect_reason"):
                text = f"{report['name']} changed nothing in {report['forwards']} forwards: {reason}."
                warnings.warn(text, UserWarning, stacklevel=2)

    def withdraw(self) -> None:
        """As `remove`, without a word: after an exception there is another thing to look at."""
        _take_off(self._instrumentation, self._left)


def instrumentation_of(model: Any) -> Instrumentation | None:
    """The instrumentation of a model on which something acts in this thread, None otherwise.

    Args:
        model: What ``load`` gave, or a bare model.

    Returns:
        The instrumentation or None.
    """
    found = _INSTRUMENTED.get(unwrap(model))
    return found if found is not None and found.active else None


def attached(model: Any) -> tuple[Intervention, ...]:
    """The interventions that act on a model in this thread, in order.

    Args:
        model: What ``load`` gave, or a bare model.

    Returns:
        Those of ``attach``, and of the blocks of ``intervene`` that this thread is in.
    """
    found = instrumentation_of(model)
    return () if found is None else tuple(each.intervention for each in found.active)


def detach(model: Any) -> tuple[Intervention, ...]:
    """Take off everything that ``attach`` has put on a model; blocks of ``intervene`` end by themselves.

    Args:
        model: What ``load`` gave, or a bare model.

    Returns:
        The interventions that were taken off, in order; none is no error.
    """
    found = _INSTRUMENTED.get(unwrap(model))
    if found is None:
        return ()
    lasting = [each for each in found.attached if each.thread is None]
    _take_off(found, lasting)
    return tuple(each.intervention for each in lasting)


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
@checked
def attach(
    model: Any,
    *interventions: Intervention,
    family: Family | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word for it
) -> Handle:
    """Switch interventions on until ``handle.remove()``, for every thread that runs the model.

    An equal intervention that was attached before is replaced, with a warning: the same cell run again does not edit
    twice. Several threads that generate wait for each other; forwards that they run themselves do not.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        *interventions: Interventions in the order in which they act; each sees the edits of those before it.
            Interventions that are on already act before these.
        family: Rules of the model's family, found by itself when None.
        compile: As for ``intervene``.

    Returns:
        The handle, with ``remove()`` and ``report()``.

    Raises:
        InterventionError: Something given is no intervention, is given twice, or chooses the tokens as another one
            does.
        UnsupportedModelError: The model takes no images, or its attention cannot be reached or be assigned to tokens.
    """
    return switch_on(model, interventions, family=family, thread=None, compiled=compile)


@checked
@contextmanager
def intervene(
    model: Any,
    *interventions: Intervention,
    family: Family | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word for it
) -> Iterator[Handle]:
    """Switch interventions on inside a ``with`` block; afterwards, also after an exception, the model is as before.

    They act on what the thread that entered the block runs: a plain ``generate`` of another thread is untouched. For
    pipelines, servers and streamers, whose ``generate`` runs in a thread of its own, use ``attach``.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        *interventions: Interventions in the order in which they act.
        family: Rules of the model's family, found by itself when None.
        compile: Let torch compile each intervention's edit of attention rows: fewer kernels a token, and the same
            results up to rounding. The first token of a new kind of shape then waits for the compiler. An intervention
            that has no such edit, or whose edit torch cannot compile, runs as it is, with a warning.

    Yields:
        The handle, whose ``report()`` says what was edited.

    Raises:
        InterventionError: Something given is no intervention, or is given twice.
        UnsupportedModelError: As for ``attach``.
    """
    handle = switch_on(model, interventions, family=family, thread=threading.get_ident(), compiled=compile)
    try:
        yield handle
    except BaseException:
        handle.withdraw()
        raise
    handle.remove()


@task(_TASK)
def switch_on(
    model: Any, interventions: Sequence[Intervention], *, family: Family | None, thread: int | None, compiled: bool
) -> Handle:
    """Switch interventions on in one thread or in all.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        interventions: Interventions in the order in which they act.
        family: Rules of the model's family, found by itself when None.
        thread: The thread whose forwards they act on; None for all, where they replace equal ones.
        compiled: Whether their edits of attention rows are to run compiled.

    Returns:
        The handle.

    Raises:
        InterventionError: As for ``attach``.
        UnsupportedModelError: As for ``attach``.
    """
    bare = unwrap(model)
    require_interventions(interventions)
    family = family_for(model, family)
    family.require_vision(bare)
    if family.crossing_layers(bare):
        got = f"{type(bare).__name__}, which looks at the image in cross-attention layers"
        expected, fix = "models with image tokens in the decoder's sequence", "trace it without interventions"
        raise UnsupportedModelError(message(got, expected, fix))
    with _ACCESS:
        instrumentation = _INSTRUMENTED.get(bare) or Instrumentation(bare, family)
        instrumentation.know(model)
        active = tuple(
            ActiveIntervention(i, i.start(instrumentation.model_info), thread, compiled=compiled) for i in interventions
        )
        before = list(instrumentation.attached)
        replaced = [each for each in before if thread is None is each.thread and each.intervention in interventions]
        kept = [each for each in before if each not in replaced]
        refuse_two_choosers(kept, active, thread)
        handle = Handle(instrumentation, active)
        instrumentation.attached[:] = [*kept, *active]
        try:
            _settle(instrumentation)
            warn_of_uncompiled(active)  # a warning may be an error
            for each in replaced:
                text = f"{each.name} was attached already with these parameters; this one replaces it."
                warnings.warn(text, stacklevel=4)
        except BaseException:
            instrumentation.attached[:] = before
            (_settle if before else _take_down)(instrumentation)  # nothing may stand between here and taking down
            raise
    return handle


def _take_off(instrumentation: Instrumentation, active: Sequence[ActiveIntervention]) -> None:
    with _ACCESS:
        if active:
            instrumentation.attached[:] = [each for each in instrumentation.attached if each not in active]
            (_settle if instrumentation.attached else _take_down)(instrumentation)


def _settle(instrumentation: Instrumentation) -> None:
    """Set up what the attached interventions need; without any, take everything down."""
    model = instrumentation.model
    if not instrumentation.attached:
        _take_down(instrumentation)
        return
    instrumentation.sync_hooks()
    if model not in _WRAPPED:
        with ExitStack() as steps:
            steps.enter_context(generating_with(instrumentation, lambda: _lifted(instrumentation)))
            _WRAPPED[model] = steps.pop_all()
    _INSTRUMENTED[model] = instrumentation


def _take_down(instrumentation: Instrumentation) -> None:
    with ExitStack() as steps:  # one that fails does not keep the other
        steps.callback(instrumentation.remove)
        if wrapped := _WRAPPED.pop(instrumentation.model, None):
            steps.callback(wrapped.close)
        _INSTRUMENTED.pop(instrumentation.model, None)


@contextmanager
def _lifted(instrumentation: Instrumentation) -> Iterator[None]:
    """The model as it was, for a moment, once no other thread generates."""
    with instrumentation.lock, _ACCESS:
        _take_down(instrumentation)
        try:
            yield
        finally:
            _settle(instrumentation)
