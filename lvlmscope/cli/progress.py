"""Progress on standard error: a spinner with the stage's name and its tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lvlmscope.interface.progress import bars_shown

if TYPE_CHECKING:
    import torch

__all__ = ["Stages", "stages"]


class Stages:
    """One line of progress, replaced by each stage.

    Attributes:
        bar: Where the line is drawn.
    """

    def __init__(self, bar: Progress) -> None:
        """Begin without a stage.

        Args:
            bar: Where the line is drawn.
        """
        self.bar = bar
        self._task = bar.add_task("loading", total=None)

    def begin(self, name: str, *, total: int | None = None) -> None:
        """Start a stage.

        Args:
            name: What is being done.
            total: How many steps it takes at most, None where they are not counted.
        """
        self.bar.remove_task(self._task)
        self._task = self.bar.add_task(name, total=total)

    @contextmanager
    def counting(self, name: str, module: "torch.nn.Module", *, total: int | None) -> Iterator[None]:
        """A stage that takes a step at each forward of a module.

        Args:
            name: What is being done.
            module: What `generate` calls for each token.
            total: How many forwards at most, None where they are not counted.
        """
        self.begin(name, total=total)
        hook = module.register_forward_hook(lambda *_: self.bar.advance(self._task))
        try:
            yield
        finally:
            hook.remove()


@contextmanager
def stages(*, shown: bool) -> Iterator[Stages]:
    """Progress while a block runs; it is gone afterwards, and nothing is drawn into a pipe or with `--json`.

    Args:
        shown: Whether to draw at all.

    Yields:
        What to tell of each stage.
    """
    terminal = Console(stderr=True)
    columns = (
        SpinnerColumn("dots" if terminal.encoding.startswith("utf") else "line"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal, transient=True, disable=not bars_shown(shown)) as bar:
        yield Stages(bar)
