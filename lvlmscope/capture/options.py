"""What a trace keeps: its options as data, and their choices."""

from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Keep", "KeyFilter", "Precision", "TraceOptions"]

Keep = Literal["all", "image_answer"]
Precision = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyFilter:
    """Which columns of a row are kept, and how precisely.

    Attributes:
        columns: Columns of the padded key axis to keep, int64 ascending; None keeps all.
        dtype: Precision of kept rows and gradients.
        whole_layers: Layers whose rows are kept whole: the keys of cross-attention are the image's anyway.
    """

    columns: torch.Tensor | None = None
    dtype: torch.dtype = torch.float32
    whole_layers: frozenset[int] = frozenset()

    def kept(self, rows: torch.Tensor, layer: int) -> torch.Tensor:
        """Rows ``[..., key]`` as they are kept, on the CPU.

        Args:
            rows: Rows or their gradient.
            layer: Decoder layer number.

        Returns:
            ``[..., kept key]``.
        """
        rows = rows.detach()
        if self.columns is not None and layer not in self.whole_layers:
            rows = rows[..., self.columns.to(rows.device)]
        return rows.to(self.dtype).cpu()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What a trace is to keep; the fields are those of ``trace``."""

    gradients: bool = False
    hidden_states: bool = False
    keep: Keep = "all"
    precision: Precision = "float32"
    max_memory: int | str | None = None
