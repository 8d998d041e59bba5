"""``explore``: the explorer in a notebook, where maps are computed on request."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from lvlmscope.errors import LvlmscopeError, MissingExtraError, message
from lvlmscope.explorer.document import Marks, describe_document
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
    model: Any = None,
) -> Any:
    """A widget for Jupyter, VS Code and Colab: choose a word, see its image map, heads, signals and alternatives.

    Words, signals and images are sent at once, each word's maps when it is chosen, unrounded.

    Args:
        other: A second one of the same prompt, such as with an intervention on, shown beside it.
        hallucinated: Words of the answer to mark as hallucinated, as `plot.timeline` takes them; or a function that
            gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The trace's, such as with a calibration of your own; True diagnoses it, False leaves that out.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too.

    Returns:
        The `anywidget.AnyWidget`; a notebook shows it as the value of a cell.

    Raises:
        MissingExtraError: anywidget is not installed.
        ModelInputError: The traces are of different prompts or images, or a mark lies outside the answer.
        ShapeError: The traces have different layers or heads.
    """
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError as error:
        got, fix = f"no module {error.name}", 'pip install "lvlmscope[notebook]", or write lv.report(trace, path)'
        raise MissingExtraError(message(got, "a notebook with anywidget", fix, task="explore a trace")) from error
    document, word_maps = describe_document(
        trace, other, hallucinated=hallucinated, grounded=grounded, diagnosis=diagnosis, model=model
    )
    source = files("lvlmscope.explorer")
    members = {
        "_esm": source.joinpath("explorer.js").read_text(encoding="utf-8"),
        "_css": source.joinpath("explorer.css").read_text(encoding="utf-8"),
        "document": traitlets.Dict().tag(sync=True),
    }
    widget = type("TraceExplorer", (anywidget.AnyWidget,), members)(document=document)

    def reply(sender: Any, content: Any, _buffers: Any) -> None:
        answer, buffers = answer_request(word_maps, content)
        sender.send(answer, buffers=buffers)

    widget.on_msg(reply)
    return widget


def answer_request(word_maps: Sequence[WordMaps], content: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The answer to a request of the widget's page.

    Args:
        word_maps: One per trace.
        content: `id`, `kind` ("heat" or "map"), `side`, `quantity`, `word`; for a map also `low`, `high` and `head`.

    Returns:
        The message, with an `error` when the request cannot be met, and float32 values, little-endian.
    """
    number = content.get("id") if isinstance(content, dict) else None
    try:
        chosen, name, word = word_maps[content["side"]], content["quantity"], content["word"]
        if content["kind"] == "heat":
            values = chosen.per_head(name, word)
        else:
            layers = range(content["low"], content["high"] + 1)
            values = chosen.over_image(name, word, layers=layers, head=content["head"])
    except (LvlmscopeError, LookupError, TypeError) as error:
        return {"id": number, "error": f"{type(error).__name__}: {error}"}, []
    return {"id": number}, [np.ascontiguousarray(values, dtype="<f4").tobytes()]
