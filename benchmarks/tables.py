"""What a table is, and what is expected of the modules that measure one."""

from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.shapes import Prepared, build

__all__ = ["Plan", "Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the page.

    Attributes:
        title: Its heading.
        about: What was run, in Markdown.
        columns: How each cell is shown, by the column's name: "text", "s", "ms", "MB", "x" (a ratio) or "count".
        rows: Cells by column's name, and more that is kept in the JSON file only, such as samples.
    """

    title: str
    about: str
    columns: dict[str, str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command is to run.

    Attributes:
        device: "cpu" or "cuda".
        dtype: Type of the weights.
        shapes: Names of the models.
        rounds: Rounds that count.
        tokens: New tokens of a traced answer; a token's cost is measured over half as many.
        batches: Batch sizes.
        threads: Threads of torch on the CPU.
        peers: The Python that peers are installed for.
    """

    device: str
    dtype: torch.dtype
    shapes: tuple[str, ...]
    rounds: int
    tokens: int
    batches: tuple[int, ...]
    threads: int
    peers: str
    _built: dict[str, Prepared] = field(default_factory=dict, repr=False)

    def prepared(self, name: str) -> Prepared:
        """A model, made once.

        Args:
            name: Name of its shape.
        """
        if name not in self._built:
            self._built[name] = build(name, device=self.device, dtype=self.dtype)
        return self._built[name]

    @property
    def on_accelerator(self) -> bool:
        """Whether the models are on one."""
        return self.device != "cpu"
