"""Everything an explorer shows of one trace or of two, as JSON values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.explorer.later_parts import LaterParts
from lvlmscope.explorer.signal_values import merged
from lvlmscope.explorer.trace_json import describe_side
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.palette import DIVERGING, GROUNDED, HALLUCINATED, SEQUENTIAL, UNDEFINED
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.intervention_effect import effect, side_names
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["Document", "Maps", "Marks", "describe_document", "with_parts"]

Marks = Iterable[Any] | Callable[[Trace], Iterable[Any]]
Maps = Iterable[Any] | Callable[[Trace], Iterable[Any]]
_STOPS: Final = 64  # of the colour map


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Document:
    """What a page begins with, and where the rest comes from.

    Attributes:
        values: JSON values; `later` lists the parts that are not in it.
        word_maps: One per trace.
        parts: Gives these parts.
    """

    values: dict[str, Any]
    word_maps: tuple[WordMaps, ...]
    parts: LaterParts


@task("show a trace")
def describe_document(
    trace: Trace,
    other: Trace | None = None,
    *,
    hallucinated: Marks = (),
    grounded: Marks = (),
    diagnosis: Diagnosis | bool = True,
    maps: Maps = (),
    model: Any = None,
) -> Document:
    """The document of words, images and confidence, and what computes its maps and all that takes longer.

    Args:
        other: A second one of the same prompt, such as one with an intervention on.
        hallucinated: Words to mark as hallucinated: those of the first answer, as `plot.timeline` takes them, or a
            function that gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The first trace's, such as with a calibration of your own; True diagnoses each, False leaves it out.
        maps: Maps of words that were computed beside the first trace, as `occlusion` gives them; or a function that
            gives them for each trace.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too, and the
            logit lens is shown.

    Returns:
        The document, one `WordMaps` per trace, and the parts that it lacks.

    Raises:
        ModelInputError: The traces are of different prompts or images, a mark lies outside the answer, a map is of no
            word of it, or the diagnosis is of another answer.
        ShapeError: They have different layers or heads, or a map has other dims.
    """
    for shown in (trace,) if other is None else (trace, other):
        require_trace(shown)
    require_kind("diagnosis", diagnosis, (Diagnosis, bool), "a Diagnosis, True or False")
    if isinstance(diagnosis, Diagnosis) and diagnosis.answer_tokens != trace.answer_tokens:
        raise ModelInputError(_of_another_answer(diagnosis.answer_tokens, trace.answer_tokens))
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
            maps=_marks_of(maps, each, trace),
            kinds=("confidence",),
        )
        for each, label in zip(word_maps, labels, strict=True)
    ]
    parts = LaterParts(word_maps, diagnosis, model)
    document = {
        "prompt": trace.prompt,
        "promptText": trace.prompt_text,
        "sides": sides,
        "signals": merged([side.pop("signals") for side in sides]),
        "effect": [] if other is None else str(effect(trace, other)).splitlines(),
        "colours": {
            "map": _colours(SEQUENTIAL),
            "signed": _colours(DIVERGING),
            "undefined": UNDEFINED,
            "grounded": GROUNDED,
            "hallucinated": HALLUCINATED,
        },
        "later": parts.requests(),
    }
    return Document(values=document, word_maps=word_maps, parts=parts)


def with_parts(made: Document) -> dict[str, Any]:
    """The document with all that takes longer in it.

    Args:
        made: What `describe_document` gave.

    Returns:
        JSON values, with nothing to ask for later.
    """
    values = made.values
    for request in values["later"]:
        part = made.parts.part(request["side"], request["part"])
        side = values["sides"][request["side"]]
        values["signals"] = merged([values["signals"], part.get("signals", [])])
        side["values"] |= part.get("values", {})
        side["notes"] += part.get("notes", [])
        side |= {name: part[name] for name in ("diagnosis", "lens") if name in part}
    return values | {"later": []}


def _of_another_answer(diagnosed: tuple[str, ...], shown: tuple[str, ...]) -> str:
    step, pair = next((at, each) for at, each in enumerate(zip_longest(diagnosed, shown)) if each[0] != each[1])
    got, expected = ("none" if token is None else repr(token[:60]) for token in pair)
    return message(
        f"a diagnosis of another answer, whose token {step} is {got}",
        f"one whose token {step} is {expected}",
        "diagnose this trace",
        task="show a trace",
    )


def _marks_of(marks: Marks, word_maps: WordMaps, first: Trace) -> Iterable[Any]:
    if callable(marks):
        return marks(word_maps.trace)
    return marks if word_maps.trace is first else ()


def _colours(name: str) -> list[str]:
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    chosen = mpl.colormaps[name]
    return [to_hex(chosen(n / (_STOPS - 1))) for n in range(_STOPS)]
