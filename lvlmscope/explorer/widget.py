"""``explore``: the explorer in a notebook, where maps are computed on request."""

from typing import Any

import numpy as np

from lvlmscope.errors import LvlmscopeError, MissingExtraError, message
from lvlmscope.explorer.document import Document, Maps, Marks, describe_document
from lvlmscope.explorer.page_script import page_script, page_style
from lvlmscope.explorer.word_maps import WordMaps
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.trace import Trace

__all__ = ["answer_request", "explore"]


@checked
def explore(
    trace: Trace,
    other: Trace | None = None,
    *,
    hallucinated: Marks = (),
    grounded: Marks = (),
    diagnosis: Diagnosis | bool = True,
    maps: Maps = (),
    model: Any = None,
) -> Any:
    """A widget for Jupyter, VS Code and Colab: choose a word, see its image map, heads, signals and alternatives.

    Words and images are sent at once, signals, logit lens and diagnosis after them, with a bar meanwhile; each word's
    maps when it is chosen, unrounded.

    Args:
        other: A second one of the same prompt, such as with an intervention on, shown beside it.
        hallucinated: Words of the answer to mark as hallucinated, as `plot.timeline` takes them; or a function that
            gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The trace's, such as with a calibration of your own; True diagnoses it, False leaves that out.
        maps: Maps of words that were computed beside the trace, as `occlusion` and `integrated_gradients` give them, to
            be shown as further maps; or a function that gives them for each trace.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too, and the
            logit lens of words (of a trace with hidden states) and of patches is shown.

    Returns:
        The `anywidget.AnyWidget`; a notebook shows it as the value of a cell.

    Raises:
        MissingExtraError: anywidget is not installed.
        ModelInputError: The traces are of different prompts or images, a mark lies outside the answer, or a map is of
            no word of it.
        ShapeError: The traces have different layers or heads, or a map has other dims.
    """
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError as error:
        got, fix = f"no module {error.name}", 'pip install "lvlmscope[notebook]", or write lv.report(trace, path)'
        raise MissingExtraError(message(got, "a notebook with anywidget", fix, task="explore a trace")) from error
    made = describe_document(
        trace, other, hallucinated=hallucinated, grounded=grounded, diagnosis=diagnosis, maps=maps, model=model
    )
    members = {"_esm": page_script(), "_css": page_style(), "document": traitlets.Dict().tag(sync=True)}
    widget = type("TraceExplorer", (anywidget.AnyWidget,), members)(document=made.values)

    def reply(sender: Any, content: Any, _buffers: Any) -> None:
        answer, buffers = answer_request(made, content)
        sender.send(answer, buffers=buffers)

    widget.on_msg(reply)
    return widget


def answer_request(made: Document, content: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The answer to a request of the widget's page.

    Args:
        made: What is shown.
        content: `id`, `kind` and `side`; for a `"part"` its name; else `quantity` and `word`, for a `"map"` and
            `"links"` also `low`, `high` and `head`, and for `"looked"` these and `cells` instead of a word.

    Returns:
        The message, with an `error` when the request cannot be met, and float32 values, little-endian.
    """
    number = content.get("id") if isinstance(content, dict) else None
    try:
        if content["kind"] == "part":
            return {"id": number, "part": made.parts.part(content["side"], content["part"])}, []
        values = _values(made.word_maps[content["side"]], content)
    except (LvlmscopeError, LookupError, TypeError) as error:
        return {"id": number, "error": f"{type(error).__name__}: {error}"}, []
    return {"id": number}, [np.ascontiguousarray(values, dtype="<f4").tobytes()]


def _values(word_maps: WordMaps, content: dict[str, Any]) -> np.ndarray:
    kind, name = content["kind"], content["quantity"]
    if kind == "heat":
        return word_maps.per_head(name, content["word"])
    if kind == "grid":
        return word_maps.of_word(name, content["word"])
    chosen = {"layers": range(content["low"], content["high"] + 1), "head": content["head"]}
    if kind == "looked":
        return word_maps.on_cells(name, content["cells"], **chosen)
    if kind == "links":
        return word_maps.over_answer(name, content["word"], **chosen)
    if kind == "map":
        return word_maps.over_image(name, content["word"], **chosen)
    raise LookupError(f"no request of kind {kind!r}")
