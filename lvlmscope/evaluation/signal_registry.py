"""The signals that are read at words: all that are registered, and those that a trace allows."""

from collections.abc import Sequence
from typing import Any, Final, get_args

from lvlmscope import diagnostics, lenses  # noqa: F401 - importing them registers their signals
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_signals import SIGNALS, UNKNOWN_SIGNAL, Kind, Needed, WordSignal, signal

__all__ = ["SIGNALS", "Kind", "Needed", "WordSignal", "chosen_signals", "list_signals", "signal", "signal_named"]

# What is expected and what to do, by what is lacking
_CURES: Final = {
    "gradient": ("a trace made with gradients=True", "pass gradients=True to lvlmscope.trace"),
    "hidden_states": ("a trace made with hidden_states=True", "pass hidden_states=True to lvlmscope.trace"),
    "model": ("the model that made the traces", "pass model="),
    "image keys": ("traces of an image", "trace a prompt with an image"),
}


def list_signals() -> tuple[WordSignal, ...]:
    """All registered signals: baselines first, then by what they are read from, in the order of `Kind`.

    >>> [each.name for each in list_signals() if each.kind == "confidence"]
    ['log_prob', 'entropy', 'margin']
    """
    kinds = get_args(Kind)
    return tuple(sorted(SIGNALS.values(), key=lambda each: kinds.index(each.kind)))


def signal_named(name: str) -> WordSignal:
    """The registered signal of a name, in any letter case.

    Args:
        name: Its name.

    Returns:
        The signal.

    Raises:
        EvaluationError: No signal of that name; the message suggests the closest one.
    """
    return SIGNALS.find(name, task="look a signal up", fix=UNKNOWN_SIGNAL)


@task("read signals at words")
def chosen_signals(
    names: Sequence[str] | None, trace: Trace, model: Any = None
) -> tuple[tuple[WordSignal, ...], tuple[str, ...]]:
    """The signals to read, and the names of those left out because the trace lacks what they need.

    Args:
        names: Names to read, in any letter case; None for all that the trace allows.
        trace: The first trace: the others must hold as much.
        model: The model, for signals that run it once more.

    Returns:
        Signals in the order of `list_signals`, and what was left out with the reason, other packages' signals that
        cannot be loaded among it.

    Raises:
        EvaluationError: No name, an unknown name, or a named signal that the trace cannot give.
    """
    if names is not None and (isinstance(names, str) or not names):
        expected = ", ".join(each.name for each in list_signals())
        got = f"the text {names!r}" if names else "no signal at all"
        raise EvaluationError(message(got, f"a list of names among {expected}", "choose among these"))
    named = None if names is None else {signal_named(name).name for name in names}
    wanted = [each for each in list_signals() if named is None or each.name in named]
    missing = {each.name: reason for each in wanted if (reason := each.lacking(trace, model))}
    if named is not None and missing:
        name, reason = next(iter(missing.items()))
        got = f"a trace without {reason}" if reason != "model" else "no model"
        raise EvaluationError(message(got, *_CURES[reason], task=f"read {name} at words"))
    chosen = tuple(each for each in wanted if each.name not in missing)
    broken = SIGNALS.broken if named is None else {}
    left_out = [f"{name} (no {reason})" for name, reason in missing.items()]
    return chosen, (*left_out, *(f"{point} (an entry point that cannot be loaded)" for point in broken))
