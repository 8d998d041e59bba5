"""`lvlmscope report`: a trace file, or two, as one HTML file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from lvlmscope.attribution import integrated_gradients, occlusion
from lvlmscope.cli.console import console
from lvlmscope.cli.progress import stages
from lvlmscope.errors import ModelInputError, message
from lvlmscope.explorer import report
from lvlmscope.traces.trace import Trace
from lvlmscope.verification.loading import load

__all__ = ["run_report"]


def run_report(
    trace: Path,
    compare: Path | None,
    out: Path,
    title: str,
    *,
    marks: Mapping[str, Sequence[str]],
    maps: Sequence[str],
    loading: dict[str, Any] | None,
    diagnosis: bool,
) -> None:
    """Writes the page and prints its path.

    Args:
        trace: Trace file.
        compare: Trace file to show beside it, such as with an intervention on.
        out: HTML file to write.
        title: Heading.
        marks: Hallucinated and grounded words of the first trace.
        maps: Maps to compute for the marked words, of all words where none is marked: occlusion, integrated_gradients.
        loading: Arguments of `load` for the model that made the traces; None without it.
        diagnosis: Whether the page has one.

    Raises:
        TraceFileError: A file is no trace.
        ModelInputError: The traces are of different prompts or images, a marked word is not in the answer, or maps
            without the model.
        OutputError: The page cannot be written.
    """
    if maps and loading is None:
        got = f"--maps {maps[0]} without --model"
        expected = "the model that made the trace, which maps are computed with"
        raise ModelInputError(message(got, expected, "add --model", task="write a report"))
    steps = {name: [_word(each) for each in words] for name, words in marks.items()}
    with stages(shown=True) as stage:
        other = None if compare is None else Trace.load(compare)
        shown = Trace.load(trace)
        model = None if loading is None else load(**loading)
        stage.begin("drawing the report")
        found: dict[str, Any] = {"maps": _maps(model, maps, [*steps["hallucinated"], *steps["grounded"]] or None)}
        path = report(shown, out, compare=other, title=title, model=model, diagnosis=diagnosis, **steps, **found)
    size = path.stat().st_size / 1e6
    console.print(f"written: {path} ({size:.1f} MB; opens in any browser, without a network)", soft_wrap=True)


def _word(text: str) -> str | int:
    """A word of the answer, or a step's number."""
    return int(text) if text.isdecimal() else text


def _maps(
    model: Any, names: Sequence[str], words: list[str | int] | None
) -> Callable[[Trace], list[xr.DataArray]] | list[xr.DataArray]:
    """Maps of the words, computed for the traces that were made without interventions."""
    if not names:
        return []
    methods: dict[str, Callable[..., xr.DataArray]] = {
        "occlusion": occlusion,
        "integrated_gradients": integrated_gradients,
    }

    def computed(traced: Trace) -> list[xr.DataArray]:
        return [] if traced.effects else [methods[name](traced, model, words=words) for name in names]

    return computed
