"""What a trace keeps: its options as data, and their choices."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from lvlmscope.traces.word_signals import WordSignal

__all__ = ["Keep", "KeepOrReduce", "KeyFilter", "Precision", "TraceOptions"]

Keep = Literal["all", "image_answer"]
KeepOrReduce = Literal["all", "image_answer", "signals"]
Precision = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyFilter:
    """Which columns of a row are kept, and how precisely.

    Attributes:
        columns: Columns of the padded key axis to keep, int64 ascending; None keeps all.
        dtype: Precision of kept rows and gradients.
        whole_layers: Layers whose rows are kept whole: the keys of cross-attention are the image's anyway.
        device: Where what is kept lies: the CPU, or the model's device while signals are reduced there.
    """

    columns: torch.Tensor | None = None
    dtype: torch.dtype = torch.float32
    whole_layers: frozenset[int] = frozenset()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def kept(self, rows: torch.Tensor, layer: int) -> torch.Tensor:
        """Rows ``[..., key]`` as they are kept.

        Args:
            rows: Rows or their gradient.
            layer: Decoder layer number.

        Returns:
            ``[..., kept key]``.
        """
        rows = rows.detach()
        if self.columns is not None and layer not in self.whole_layers:
            rows = rows[..., self.columns.to(rows.device)]
        return rows.to(self.dtype).to(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What a trace is to keep; the fields are those of ``trace``, with signals looked up by name.

    Attributes:
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        keep: Which keys of a row are kept.
        precision: As for ``trace``.
        max_memory: As for ``trace``.
        signals: What rows are reduced to where they are; none to keep the rows.
    """

    gradients: bool = False
    hidden_states: bool = False
    keep: Keep = "all"
    precision: Precision = "float32"
    max_memory: int | str | None = None
    signals: tuple[WordSignal, ...] = ()
