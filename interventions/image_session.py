"""Base session of interventions on image attention: without an image they do nothing and warn once."""

import warnings
from typing import Any

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.interventions.forward_sums import ForwardSums
from lvlmscope.interventions.key_positions import crosses
from lvlmscope.runtime.protocol import ForwardInfo, Session

__all__ = ["ImageSession"]


class ImageSession(Session):
    """A session that checks whether the prompt holds an image.

    Attributes:
        method: Name of the intervention, for the warning.
        sees_image: Whether any sample of the current forward has image keys.
        sums: What the report is made of; settled at the end of each forward.
    """

    method = "the intervention"

    def __init__(self) -> None:
        """A session before its first forward."""
        self.sees_image = False
        self.sums = ForwardSums()
        self._warned = False
        self._crossing: dict[int | None, bool] = {}

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Look for image keys; warn at the first forward without any."""
        self.sees_image = forward.layout.present
        if not self.sees_image and not self._warned:
            self._warned = True
            text = f"{self.method} does nothing: the prompt holds no image. Put one in it, or remove the intervention."
            warnings.warn(text, UserWarning, stacklevel=2)

    def end_forward(self, logits: torch.Tensor) -> None:
        """Add up what the layers gave."""
        del logits
        self.sums.settle()

    def crosses(self, rows: AttentionRows) -> bool:
        """Whether the layer's keys are the image's alone, outside the sequence; found at its first forward.

        Args:
            rows: Rows of the layer.
        """
        if rows.layer not in self._crossing:
            self._crossing[rows.layer] = crosses(rows)
        return self._crossing[rows.layer]

    def report(self) -> dict[str, Any]:
        """Whether the last forward had image keys."""
        return {"saw_image": self.sees_image}
