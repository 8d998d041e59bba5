"""Attention rows and the image signals read from them, each computed once and shared by everything that needs it."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.computed_once import computed_once
from lvlmscope.errors import ShapeError, describe, message

__all__ = ["AttentionRows", "at_least_float32", "log_weights"]


def at_least_float32(tensor: Float[torch.Tensor, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    """Half precision raised to float32; float64 stays, so that exactness can be tested.

    Args:
        tensor: Any floating tensor.

    Returns:
        The tensor in float32 or float64.
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def log_weights(weights: Float[torch.Tensor, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    """``ln a`` whose slope is finite everywhere: -inf where a is 0, without a gradient there.

    Args:
        weights: Attention of any shape.

    Returns:
        Logarithms of the same shape.
    """
    return weights.where(weights > 0, 1.0).log().masked_fill(weights <= 0, float("-inf"))


class AttentionRows:
    """Post-softmax attention rows of predicting positions, and their image mass and distribution.

    One object serves observers, editors and diagnostics. Inside the model the leading axes are ``[batch, row]``, in a
    trace ``[step, layer]``; the last two are always ``[head, key]``. Everything is float32 whatever the model's dtype
    (float64 in a float64 model).

    Attributes:
        weights: Attention, ``[..., head, key]``; a row sums to 1 over the keys it may see.
        image_keys: bool, broadcastable to ``[..., key]``: keys that hold an image token.
        answer_keys: bool like ``image_keys``: keys of tokens generated so far (the row's own key included when its
            token was generated), or None where that is not known.
        visible_keys: bool like ``image_keys``: keys the row may see (neither padding, nor future, nor outside a
            window), or None where every key with weight is visible.
        layer: Decoder layer number inside the model, None in a trace.
        image_span: First image key and the one after the last, where the image keys of every row are exactly that
            block; None where that is not known. Sums over the image are then sums of a slice.
        sees_all_keys: Whether every row may see every key, known without looking at the mask.
        changes_all_heads: Whether an intervention has changed every head of every row.
        scores_version: torch's version counter of the scores when they were made, None while they are not.
    """

    def __init__(
        self,
        weights: Float[torch.Tensor, "*lead head key"],
        image_keys: Bool[torch.Tensor, "*#lead _key"],
        *,
        answer_keys: Bool[torch.Tensor, "*#lead key"] | Callable[[], Bool[torch.Tensor, "*#lead key"]] | None = None,
        visible_keys: Bool[torch.Tensor, "*#lead key"] | None = None,
        layer: int | None = None,
        scores: Callable[[], Float[torch.Tensor, "*lead head key"]] | None = None,
        image_span: tuple[int, int] | None = None,
        sees_all_keys: bool = False,
    ) -> None:
        """Hold the rows; nothing is computed yet.

        Args:
            weights: Attention ``[..., head, key]``.
            image_keys: bool ``[..., key]``, broadcastable over the leading axes.
            answer_keys: bool ``[..., key]``, what makes them when they are first asked for, or None.
            visible_keys: bool ``[..., key]`` or None.
            layer: Decoder layer number, where there is one.
            scores: Makes the masked pre-softmax scores ``[..., head, key]`` when they are first asked for.
            image_span: First image key and the one after the last, where they are known to be one block.
            sees_all_keys: Whether every row is known to see every key.

        Raises:
            ShapeError: The key axes differ.
        """
        if image_keys.shape[-1] != weights.shape[-1]:
            raise ShapeError(
                message(
                    describe({"weights": weights, "image_keys": image_keys}),
                    "the same length of the last (key) axis",
                    "check the key axis of both",
                    task="read attention rows",
                )
            )
        self.weights = at_least_float32(weights)
        self.image_keys = image_keys
        self._answer_keys = answer_keys
        self.visible_keys = visible_keys
        self.layer = layer
        self.image_span = image_span
        self.sees_all_keys = sees_all_keys
        self.changes_all_heads = False
        self.scores_version: int | None = None
        self._make_scores = scores

    @property
    def own_layer(self) -> int:
        """Number of the one decoder layer that the rows are of.

        Raises:
            ShapeError: They are a trace's, of all its layers.
        """
        if self.layer is None:
            fix = "take the rows of one layer"
            raise ShapeError(message("rows of no one layer", "rows inside a model", fix, task="read attention rows"))
        return self.layer

    def as_leaf(self) -> "AttentionRows":
        """The same rows with weights that a graph begins with."""
        return self.replace(weights=self.weights.detach().requires_grad_())

    def replace(
        self,
        *,
        weights: Float[torch.Tensor, "*lead head key"],
        image_keys: Bool[torch.Tensor, "*#lead _key"] | None = None,
        answer_keys: Bool[torch.Tensor, "*#lead key"] | None = None,
        visible_keys: Bool[torch.Tensor, "*#lead key"] | None = None,
        scores: Callable[[], Float[torch.Tensor, "*lead head key"]] | None = None,
    ) -> "AttentionRows":
        """New rows with other weights; what is not given stays as it is.

        Args:
            weights: Attention ``[..., head, key]``.
            image_keys: As in `AttentionRows`; None keeps these rows'.
            answer_keys: As in `AttentionRows`; None keeps these rows'.
            visible_keys: As in `AttentionRows`; None keeps these rows'.
            scores: Makes the scores that belong to the new weights; None keeps these rows'.

        Returns:
            The new rows.

        Raises:
            ShapeError: The key axes differ.
        """
        return AttentionRows(
            weights,
            self.image_keys if image_keys is None else image_keys,
            answer_keys=self._answer_keys if answer_keys is None else answer_keys,
            visible_keys=self.visible_keys if visible_keys is None else visible_keys,
            layer=self.layer,
            scores=self._make_scores if scores is None else scores,
            image_span=self.image_span if image_keys is None else None,
            sees_all_keys=self.sees_all_keys and visible_keys is None,
        )

    @computed_once
    def answer_keys(self) -> Bool[torch.Tensor, "*#lead key"] | None:
        """Keys of generated tokens, bool ``[..., key]``, as the class says; None where that is not known."""
        return self._answer_keys() if callable(self._answer_keys) else self._answer_keys

    @computed_once
    def scores(self) -> Float[torch.Tensor, "*lead head key"]:
        """Masked pre-softmax scores ``[..., head, key]``, float32; -inf on keys the row may not see.

        Raises:
            AttributeError: The rows come from a trace, which does not keep scores.
        """
        if self._make_scores is None:
            text = message(
                "rows of a trace",
                "rows inside the model",
                "read them in an intervention",
                task="read pre-softmax scores",
            )
            raise AttributeError(text)
        made = at_least_float32(self._make_scores())
        self.scores_version = None if made.is_inference() else made._version  # noqa: SLF001 - there is no public counter
        return made

    @computed_once
    def _mask(self) -> Bool[torch.Tensor, "*#lead 1 key"]:
        return self.image_keys.unsqueeze(-2)

    @computed_once
    def has_image(self) -> Bool[torch.Tensor, "*#lead"]:
        """bool, broadcastable to ``[...]``: rows that have an image key at all."""
        return self.image_keys.any(-1)

    @computed_once
    def sees_image(self) -> Bool[torch.Tensor, "*lead"]:
        """Rows in which at least one head gives an image key weight, bool ``[...]``.

        False where there is no image or it lies outside the layer's window: then masses of 0 say nothing of the heads.
        """
        return (self.image_mass > 0).any(-1)

    @property
    def image_weights(self) -> Float[torch.Tensor, "*lead head key"]:
        """``a`` on image keys and 0 elsewhere, ``[..., head, key]``."""
        return torch.where(self._mask, self.weights, 0.0)

    @computed_once
    def image_mass(self) -> Float[torch.Tensor, "*lead head"]:
        """``M = sum of a over image keys``, a share of 1, ``[..., head]``. 0 without an image."""
        if self.image_span is not None:
            return self.weights[..., slice(*self.image_span)].sum(-1)
        return self.image_weights.sum(-1)

    @computed_once
    def image_scores(self) -> Float[torch.Tensor, "*lead head"]:
        """Sum of the pre-softmax scores of the image keys that each row may see, ``[..., head]``."""
        if self.image_span is not None:
            seen = self.scores[..., slice(*self.image_span)]
            return (seen if self.sees_all_keys else seen.masked_fill(seen == float("-inf"), 0.0)).sum(-1)
        counted = self.image_keys if self.visible_keys is None else self.image_keys & self.visible_keys
        return torch.where(counted.unsqueeze(-2), self.scores, 0.0).sum(-1)

    @computed_once
    def image_distribution(self) -> Float[torch.Tensor, "*lead head key"]:
        """``p = a / M`` on image keys, 0 elsewhere, ``[..., head, key]``.

        A head without any image mass has no distribution: NaN on its image keys, never a hallucinated uniform.
        """
        return self.image_weights / self.image_mass.unsqueeze(-1).where(self._mask, 1.0)

    @computed_once
    def layer_image_distribution(self) -> Float[torch.Tensor, "*lead key"]:
        """``p_bar = sum_h a / sum_h M`` on image keys, 0 elsewhere, ``[..., key]``; NaN on them where no head looks."""
        mass = self.image_mass.sum(-1, keepdim=True)
        if self.image_span is not None:
            first, end = self.image_span
            together = torch.nn.functional.pad(
                self.weights[..., first:end].sum(-2), (first, self.weights.shape[-1] - end)
            )
            return together / mass.where(self.image_keys, 1.0)
        return self.image_weights.sum(-2) / mass.where(self.image_keys, 1.0)

    @computed_once
    def layer_image_entropy(self) -> Float[torch.Tensor, "*lead"]:
        """``LIAE = - sum_j p_bar ln p_bar`` in nats, ``[...]`` in ``[0, ln n]`` (arXiv 2509.07864, our reading).

        NaN where the row has no image key or no image mass.
        """
        if self.image_span is not None and self.image_span[0] < self.image_span[1]:
            together = self.weights[..., slice(*self.image_span)].sum(-2)
            share = together / self.image_mass.sum(-1, keepdim=True)
            own: torch.Tensor = torch.special.entr(share).sum(-1)
            return own
        entropy: torch.Tensor = torch.special.entr(self.layer_image_distribution).sum(-1)
        return entropy.masked_fill(~self.has_image.expand(entropy.shape), float("nan"))

    @computed_once
    def head_image_entropy(self) -> Float[torch.Tensor, "*lead head"]:
        """Entropy of each head's image distribution in nats, ``[..., head]``; NaN where it has none."""
        if self.image_span is not None and self.image_span[0] < self.image_span[1]:
            seen = self.weights[..., slice(*self.image_span)]
            # One leading entry at a time: of a trace, each is a copy of a step's rows
            each = zip(seen, self.image_mass.unsqueeze(-1), strict=True)
            return torch.stack([torch.special.entr(own / mass).sum(-1) for own, mass in each])
        entropy: torch.Tensor = torch.special.entr(self.image_distribution).sum(-1)
        return entropy.masked_fill(~self.has_image.unsqueeze(-1).expand(entropy.shape), float("nan"))
