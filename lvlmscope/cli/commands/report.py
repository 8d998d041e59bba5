"""`lvlmscope report`: a trace file, or two, as one HTML file."""

from pathlib import Path

from lvlmscope.cli.console import console
from lvlmscope.explorer import report
from lvlmscope.traces.trace import Trace

__all__ = ["run_report"]


def run_report(trace: Path, compare: Path | None, out: Path, title: str) -> None:
    """Writes the page and prints its path.

    Args:
        trace: Trace file.
        compare: Trace file to show beside it, such as with an intervention on.
        out: HTML file to write.
        title: Heading.

    Raises:
        TraceFileError: A file is no trace.
        ModelInputError: The traces are of different prompts or images.
        OutputError: The page cannot be written.
    """
    other = None if compare is None else Trace.load(compare)
    path = report(Trace.load(trace), out, compare=other, title=title)
    size = path.stat().st_size / 1e6
    console.print(f"written: {path} ({size:.1f} MB; opens in any browser, without a network)", soft_wrap=True)
