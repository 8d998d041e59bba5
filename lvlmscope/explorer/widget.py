"""``explore``: the explorer in a notebook, where maps are computed on request."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from lvlmscope.errors import MissingExtraError, message
from lvlmscope.explorer.document import Document, Maps, Marks, describe_document
from lvlmscope.explorer.page_script import page_script, page_style
from lvlmscope.explorer.requests import Answer, LiveExplorer, answer_request
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.trace import Trace

__all__ = ["explore"]

_DEFECT: Final = "interrupted, or a defect: the notebook's log has the traceback"


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

    With `model=` the page is live: interventions with switches and sliders, the diagnosis' proposals as buttons. A run
    traces the same image, prompt and settings again and shows the answer beside the first.

    Args:
        other: A second one of the same prompt, such as with an intervention on, shown beside it.
        hallucinated: Words of the answer to mark as hallucinated, as `plot.timeline` takes them; or a function that
            gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The trace's, such as with a calibration of your own; True diagnoses it, False leaves that out.
        maps: Maps of words that were computed beside the trace, as `occlusion` and `integrated_gradients` give them, to
            be shown as further maps; or a function that gives them for each trace.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too, and the
            logit lens of words (of a trace with hidden states) and of patches is shown; interventions can be tried.

    Returns:
        The `anywidget.AnyWidget`; a notebook shows it as the value of a cell. Its `latest` is the second trace that it
        shows, the latest run's; None without.

    Raises:
        MissingExtraError: anywidget is not installed.
        ModelInputError: The traces are of different prompts or images, a mark lies outside the answer, a map is of no
            word of it, or the diagnosis is of another answer.
        ShapeError: The traces have different layers or heads, or a map has other dims.
    """
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError as error:
        got, fix = f"no module {error.name}", 'pip install "lvlmscope[notebook]", or write lv.report(trace, path)'
        raise MissingExtraError(message(got, "a notebook with anywidget", fix, task="explore a trace")) from error
    options: dict[str, Any] = {"hallucinated": hallucinated, "grounded": grounded, "diagnosis": diagnosis, "maps": maps}
    describe: Callable[..., Document] = partial(describe_document, **options)
    shown: LiveExplorer | Document
    if model is None:
        shown = describe(trace, other)
        answered: Callable[..., Answer] = partial(answer_request, shown)
    else:
        shown = LiveExplorer(trace, model, other=other, describe=describe)
        answered = shown.answer
    members = {"_esm": page_script(), "_css": page_style(), "document": traitlets.Dict().tag(sync=True)}
    members["latest"] = property(lambda _: shown.latest if isinstance(shown, LiveExplorer) else other)
    widget = type("TraceExplorer", (anywidget.AnyWidget,), members)(document=shown.values)

    def reply(sender: Any, content: Any, _buffers: Any) -> None:
        answer: Answer = {"id": content["id"], "error": _DEFECT}, []
        try:
            answer = answered(content) if model is None else answered(content, sender.send)
        finally:  # whatever happens, the page does not wait for ever
            sender.send(answer[0], buffers=answer[1])

    widget.on_msg(reply)
    return widget
