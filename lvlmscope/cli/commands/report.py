"""`lvlmscope report`: a trace file, or two, as one HTML file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lvlmscope.cli.console import console
from lvlmscope.errors import ModelInputError, message
from lvlmscope.explorer import report
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word, all_words, find_word
from lvlmscope.verification.loading import load

__all__ = ["run_report"]


def run_report(
    trace: Path,
    compare: Path | None,
    out: Path,
    *,
    title: str,
    marks: Mapping[str, Sequence[str]],
    diagnosis: bool,
    loading: Mapping[str, Any] | None,
) -> None:
    """Writes the page and prints its path.

    Args:
        trace: Trace file.
        compare: Trace file to show beside it, such as with an intervention on.
        out: HTML file to write.
        title: Heading.
        marks: Texts of words to mark by kind: `hallucinated`, `grounded`.
        diagnosis: Whether the traces are diagnosed.
        loading: Arguments of `load` for the model that made them; None for a page without its logit lens.

    Raises:
        TraceFileError: A file is no trace.
        ModelInputError: The traces are of different prompts or images, or a word to mark is in no answer.
        OutputError: The page cannot be written.
    """
    traces = [Trace.load(path) for path in (trace, compare) if path is not None]
    marked: dict[str, Any] = {kind: _marker(texts, traces) for kind, texts in marks.items()}
    model = None if loading is None else load(**loading)
    more: dict[str, Any] = {"diagnosis": diagnosis, "model": model}
    path = report(traces[0], out, compare=traces[1] if compare else None, title=title, **marked, **more)
    size = path.stat().st_size / 1e6
    console.print(f"written: {path} ({size:.1f} MB; opens in any browser, without a network)", soft_wrap=True)


def _marker(texts: Sequence[str], traces: Sequence[Trace]) -> Callable[[Trace], list[Word]]:
    """Finds the places of words in each answer; one of the answers has to have each word."""

    def places(trace: Trace) -> list[Word]:
        return [word for text in texts for word in all_words(trace, text)]

    for text in texts:
        if not text.strip():
            raise ModelInputError(message("an empty word", "a word of the answer", "write one", task="mark words"))
        if not any(all_words(trace, text) for trace in traces):
            find_word(traces[0], text)  # says which words there are
    return places
