"""Base of families with a known geometry: one layout per image, from the sample's inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from lvlmscope.models.families.generic import DefaultFamily, runs_of, unplaced
from lvlmscope.models.families.patch_grids import PlacementError, Visual
from lvlmscope.traces.token_layout import ImageLayout

__all__ = ["Counted", "GridFamily", "Sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample, as needed to compute the boxes of its image tokens.

    Attributes:
        config: The model's config.
        keys: Positions of the image tokens, without padding.
        ids: The prompt's token ids, without padding; None when not given.
        inputs: The sample's model inputs.
        processor: The processor that made the inputs, or None.
        sizes: Width and height of each image given, empty when unknown.
    """

    config: Any
    keys: tuple[int, ...]
    ids: tuple[int, ...] | None
    inputs: Mapping[str, Any]
    processor: Any
    sizes: tuple[tuple[int, int], ...]

    @property
    def settings(self) -> Any:
        """The image processor, or None."""
        return getattr(self.processor, "image_processor", self.processor)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Height and width of the model's input, of one tile where there are several; None when it is not given."""
        values = self.inputs.get("pixel_values")
        if not isinstance(values, torch.Tensor) or values.dim() < 4:
            return None
        return int(values.shape[-2]), int(values.shape[-1])

    @property
    def runs(self) -> list[list[int]]:
        """Runs of consecutive image tokens."""
        return runs_of(self.keys)

    def images(self, count: int) -> tuple[tuple[int, int] | None, ...]:
        """Width and height of each image; None for prepared inputs.

        Args:
            count: Number of images in the inputs.

        Returns:
            A size per image.

        Raises:
            PlacementError: Another number of images was given.
        """
        if self.sizes and len(self.sizes) != count:
            raise PlacementError(f"{len(self.sizes)} images were given for {count} images in the prompt")
        return self.sizes or (None,) * count

    def rows_of(self, name: str) -> list[list[int]]:
        """An input with a row of numbers per image, such as ``image_sizes``; no rows when it is missing."""
        values = self.inputs.get(name)
        return [] if values is None else torch.as_tensor(values).tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An input whose leading axis counts the images of a whole batch.

    Attributes:
        name: Name of the input.
        token: Id of the tokens that its entries become; None in a model without such a token.
        counts: Tokens per entry.
    """

    name: str
    token: int | None
    counts: tuple[int, ...]

    def part(self, ids: torch.Tensor, index: int) -> slice | None:
        """The entries of one sample, by the tokens of the samples before it.

        Args:
            ids: Token ids of the batch ``[sample, position]``.

        Returns:
            Its entries, None when the numbers of tokens and entries do not match.
        """
        edges = [0, *accumulate(self.counts)]
        if self.token is None:
            return None
        before = int((ids[:index] == self.token).sum())
        after = before + int((ids[index] == self.token).sum())
        if before not in edges or after not in edges:
            return None
        return slice(edges.index(before), edges.index(after))


class GridFamily(DefaultFamily):
    """A family whose token grids are known; subclasses give ``model_types`` and ``visuals``."""

    model_types: tuple[str, ...] = ()
    # Inputs with one entry per sample, which the geometry needs
    per_sample: tuple[str, ...] = ("input_ids", "attention_mask")

    def claims(self, model: torch.nn.Module) -> bool:
        """By model type."""
        return getattr(model.config, "model_type", "") in self.model_types

    def visuals(self, sample: Sample) -> Sequence[Visual]:
        """The images and videos of one sample, each kind in the order of its tokens.

        Returns:
            One entry per image or video.

        Raises:
            PlacementError: The geometry cannot be known, with the reason.
        """
        raise PlacementError(f"the geometry of {sample.config.model_type} is not known to this version")

    def counted(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> tuple[Counted, ...]:
        """Inputs that count images over the batch, with the tokens of each; most families have none.

        Args:
            inputs: The batch's inputs.

        Returns:
            One entry per such input.
        """
        del model, inputs
        return ()

    def sample_inputs(self, model: torch.nn.Module, inputs: Mapping[str, Any], index: int) -> dict[str, Any]:
        """One sample's part of a batch, without inputs that the geometry does not need.

        The model puts the images of a batch into its image tokens one after another, so that the tokens of the samples
        before determine which images are this one's. An input whose count does not match is left out.
        """
        if inputs["input_ids"].shape[0] == 1:
            return dict(inputs)
        own = {name: inputs[name][index : index + 1] for name in self.per_sample if name in inputs}
        pixels = inputs.get("pixel_values")
        if isinstance(pixels, torch.Tensor) and "pixel_values" not in own:
            own["pixel_values"] = pixels[:0]  # no pixels: which are this sample's is not known; their size is
        for entry in self.counted(model, inputs):
            part = entry.part(inputs["input_ids"], index)
            if part is not None:
                own[entry.name] = inputs[entry.name][part]
        return own

    def image_layouts(
        self,
        model: torch.nn.Module,
        keys: torch.Tensor,
        inputs: dict[str, Any],
        *,
        processor: Any = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> tuple[ImageLayout, ...]:
        """One layout per image and video, in the order of the prompt; unknown with the reason where counts differ."""
        sample = _sample(model, keys, inputs, processor, sizes)
        try:
            return self._placed(sample, self.visuals(sample)) if sample.keys else ()
        except PlacementError as reason:
            return unplaced(sample.keys, sizes, str(reason))

    def _placed(self, sample: Sample, visuals: Sequence[Visual]) -> tuple[ImageLayout, ...]:
        video_token = getattr(sample.config, "video_token_id", None)
        parts: list[tuple[list[int], Visual]] = []
        ids = sample.ids if video_token is not None else None
        for video in (False, True):
            of_kind = [key for key in sample.keys if (ids is not None and ids[key] == video_token) == video]
            kind = [visual for visual in visuals if visual.video == video]
            needed = sum(visual.tokens for visual in kind)
            if needed != len(of_kind):
                name = "video" if video else "image"
                raise PlacementError(f"{len(of_kind)} {name} tokens where {len(kind)} {name}s give {needed}")
            for visual in kind:
                parts.append((of_kind[: visual.tokens], visual))
                del of_kind[: visual.tokens]
        parts.sort(key=lambda part: part[0][0])
        return tuple(
            ImageLayout(cells=visual.cells(own, index), size=visual.size, grid=visual.grid, pixels=visual.pixels)
            for index, (own, visual) in enumerate(parts)
        )


def _sample(
    model: torch.nn.Module, keys: torch.Tensor, inputs: dict[str, Any], processor: Any, sizes: Sequence[tuple[int, int]]
) -> Sample:
    ids = inputs.get("input_ids")
    if ids is not None:
        mask = inputs.get("attention_mask")
        ids = ids[0] if mask is None else ids[0][mask[0].bool()]
    positions = tuple(int(key) for key in keys.tolist())
    known = None if ids is None else tuple(ids.tolist())
    return Sample(
        config=model.config, keys=positions, ids=known, inputs=inputs, processor=processor, sizes=tuple(sizes)
    )
