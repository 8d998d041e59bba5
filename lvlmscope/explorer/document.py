"""Everything an explorer shows of one trace or of two, as JSON values."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from lvlmscope.errors import ShapeError, message, task
from lvlmscope.explorer.diagnosis_blocks import blocks_of, diagnosis_of, risks_of
from lvlmscope.explorer.signal_values import RANK, RISK, merged
from lvlmscope.explorer.trace_json import describe_side
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.palette import GROUNDED, HALLUCINATED, SEQUENTIAL, UNDEFINED
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.intervention_effect import effect, side_names
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["Marks", "describe_document"]

Marks = Iterable[Any] | Callable[[Trace], Iterable[Any]]
_STOPS: Final = 64  # of the colour map


@task("show a trace")
def describe_document(
    trace: Trace,
    other: Trace | None = None,
    *,
    hallucinated: Marks = (),
    grounded: Marks = (),
    diagnosis: Diagnosis | bool = True,
    model: Any = None,
) -> tuple[dict[str, Any], tuple[WordMaps, ...]]:
    """The document without its maps, and the objects that compute them.

    Args:
        other: A second one of the same prompt, such as one with an intervention on.
        hallucinated: Words to mark as hallucinated: those of the first answer, as `plot.timeline` takes them, or a
            function that gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The first trace's, such as with a calibration of your own; True diagnoses each, False leaves it out.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too.

    Returns:
        JSON values, and one `WordMaps` per trace.

    Raises:
        ModelInputError: The traces are of different prompts or images, or a mark lies outside the answer.
        ShapeError: They have different layers or heads.
    """
    for shown in (trace,) if other is None else (trace, other):
        require_trace(shown)
    if other is not None and (trace.layer_indices, trace.num_heads) != (other.layer_indices, other.num_heads):
        sizes = [f"{t.num_layers} x {t.num_heads}" for t in (trace, other)]
        got = f"{' and '.join(sizes)} layers x heads, or other layer numbers"
        raise ShapeError(message(got, "the same layers and heads", "trace the same model", task="show two traces"))
    word_maps = tuple(WordMaps(each) for each in (trace, other) if each is not None)
    labels = ("",) if other is None else side_names(trace, other)
    sides = [
        describe_side(
            each,
            label,
            hallucinated=_marks_of(hallucinated, each, trace),
            grounded=_marks_of(grounded, each, trace),
        )
        for each, label in zip(word_maps, labels, strict=True)
    ]
    risks = []
    for side, each in zip(sides, word_maps, strict=True):
        own = diagnosis if isinstance(diagnosis, Diagnosis) and each is word_maps[0] else None
        found = own or (diagnosis_of(each.trace, model) if diagnosis is True else None)
        side["diagnosis"] = blocks_of(found) if found else []
        side["values"] |= {"risk": risks_of(found, each.words)} if found else {}
        risks += [RISK if found.calibrated else RANK] if found else []
    signals = merged([side.pop("signals") for side in sides])
    signals += risks[:1]
    return {
        "prompt": trace.prompt,
        "promptText": trace.prompt_text,
        "sides": sides,
        "signals": signals,
        "effect": [] if other is None else str(effect(trace, other)).splitlines(),
        "colours": {"map": _colours(), "undefined": UNDEFINED, "grounded": GROUNDED, "hallucinated": HALLUCINATED},
    }, word_maps


def _marks_of(marks: Marks, word_maps: WordMaps, first: Trace) -> Iterable[Any]:
    if callable(marks):
        return marks(word_maps.trace)
    return marks if word_maps.trace is first else ()


def _colours() -> list[str]:
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    chosen = mpl.colormaps[SEQUENTIAL]
    return [to_hex(chosen(n / (_STOPS - 1))) for n in range(_STOPS)]
