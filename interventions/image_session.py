"""Base session of interventions on image attention: without an image they do nothing and warn once."""

import warnings
from typing import Any

from lvlmscope.runtime.protocol import ForwardInfo, Session

__all__ = ["ImageSession"]


class ImageSession(Session):
    """A session that checks whether the prompt holds an image.

    Attributes:
        method: Name of the intervention, for the warning.
        sees_image: Whether any sample of the current forward has image keys.
    """

    method = "the intervention"

    def __init__(self) -> None:
        """A session before its first forward."""
        self.sees_image = False
        self._warned = False

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Look for image keys; warn at the first forward without any."""
        self.sees_image = forward.layout.present
        if not self.sees_image and not self._warned:
            self._warned = True
            text = f"{self.method} does nothing: the prompt holds no image. Put one in it, or remove the intervention."
            warnings.warn(text, UserWarning, stacklevel=2)

    def report(self) -> dict[str, Any]:
        """Whether the last forward had image keys."""
        return {"saw_image": self.sees_image}
