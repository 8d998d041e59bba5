"""The protocol of a model family."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from lvlmscope.hooks.attention_tap import FirstRow, Handler, Tap
from lvlmscope.traces.token_layout import ImageLayout

__all__ = ["Family"]


@runtime_checkable
class Family(Protocol):
    """Rules of one model family. Subclass ``DefaultFamily`` and override what differs."""

    name: str
    max_images: int | None

    def claims(self, model: torch.nn.Module) -> bool:
        """Whether the family serves this model."""
        ...

    def require_vision(self, model: torch.nn.Module) -> None:
        """Raise ``UnsupportedModelError`` for a model that takes no images."""
        ...

    def decoder(self, model: torch.nn.Module) -> torch.nn.Module:
        """The text decoder, whose attention is read."""
        ...

    def decoder_layers(self, model: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """The decoder's layers in order."""
        ...

    def core(self, model: torch.nn.Module) -> torch.nn.Module:
        """The module whose forward ``generate`` calls at every step: the model itself, or a language model in it."""
        ...

    def crossing_layers(self, model: torch.nn.Module) -> frozenset[int]:
        """Numbers of the decoder layers that attend to the image by cross-attention, with keys of their own."""
        ...

    def prompt_sees_itself(self, model: torch.nn.Module) -> bool:
        """Whether every token of a prompt sees all the others, those after it too."""
        ...

    def padding_reason(self, model: torch.nn.Module) -> str:
        """Why a sample of a padded batch gets other logits than alone; empty where it gets the same."""
        ...

    def outside_keys(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> int:
        """Image keys per sample that only cross-attention layers see, at most."""
        ...

    def make_tap(self, model: torch.nn.Module, first_row: FirstRow, handler: Handler) -> Tap:
        """A tap that routes the decoder's attention calls through a handler.

        Args:
            first_row: First query row of interest in the current forward, None for a forward without one.
            handler: Gets the call and the kernel to make the output with, returns the output.

        Returns:
            A tap: ``install()``, ``remove()`` and the names of the model's own ``kernels``.
        """
        ...

    def text_config(self, model: torch.nn.Module) -> Any:
        """The decoder's config, with num_attention_heads and hidden_size."""
        ...

    def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """A new bool tensor ``[batch, key]``: positions of image tokens in ids of that shape."""
        ...

    def image_layouts(
        self,
        model: torch.nn.Module,
        keys: torch.Tensor,
        inputs: dict[str, Any],
        *,
        processor: Any = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> tuple[ImageLayout, ...]:
        """The images of one sample.

        Args:
            model: The whole model.
            keys: Positions of the image tokens ``[image token]``, without padding.
            inputs: The sample's model inputs, batch axis 1.
            processor: The processor that made the inputs, None when unknown.
            sizes: Width and height of each image given, empty when unknown.

        Returns:
            One layout per image.
        """
        ...

    def sample_inputs(self, model: torch.nn.Module, inputs: Mapping[str, Any], index: int) -> dict[str, Any]:
        """One sample's part of a batch, as ``image_layouts`` takes it.

        Args:
            inputs: The batch's inputs.

        Returns:
            Its inputs, batch axis 1; those that no geometry needs may be missing.
        """
        ...
