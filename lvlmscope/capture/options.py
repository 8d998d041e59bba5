"""What a trace keeps: its options as data, and their choices."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from lvlmscope.errors import UnsupportedOptionError, message

__all__ = ["Keep", "KeyFilter", "Precision", "TraceOptions", "check_choices"]


Keep = Literal["all", "image_answer"]
Precision = Literal["float32", "float16"]


def check_choices(*, keep: str, precision: str) -> None:
    """Refuse words that name no choice.

    Args:
        keep: As for ``trace``.
        precision: As for ``trace``.

    Raises:
        UnsupportedOptionError: Another word.
    """
    for name, value, choices in (("keep", keep, get_args(Keep)), ("precision", precision, get_args(Precision))):
        if value not in choices:
            expected = " or ".join(map(repr, choices))
            raise UnsupportedOptionError(message(f"{name}={value!r}", expected, "choose one of them", task="trace"))


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
