"""Checks of the shapes that an intervention returns, and the errors for invalid edits."""

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.errors import InterventionError, describe, message

__all__ = [
    "edited_rows",
    "require_scores",
    "require_values",
    "validate_edit",
    "validate_gain",
    "validate_values",
]

_DOING = {
    "edit_attention": "edit attention with {}",
    "head_gain": "scale heads with {}",
    "edit_prompt_attention": "edit attention of the prompt with {}",
    "edit_hidden": "edit the residual stream with {}",
    "edit_mlp": "edit the output of an MLP with {}",
    "mix_logits": "mix logits with {}",
}
_SHAPES = {
    "edit_hidden": ("hidden", "a stream of the same shape"),
    "edit_mlp": ("output", "an output of the same shape"),
    "mix_logits": ("logits", "one logit for each row and token"),
}
_WANTED = {
    "edit_attention": "finite weights",
    "edit_prompt_attention": "finite weights",
    "head_gain": "finite gains",
    "edit_hidden": "finite values",
    "edit_mlp": "finite values",
}


def validate_edit(
    rows: AttentionRows, weights: Float[torch.Tensor, "..."], name: str, *, hook: str = "edit_attention"
) -> None:
    """Refuse weights of another shape.

    Args:
        rows: The rows the intervention saw ``[batch, row, head, key]``.
        weights: What it returned.
        name: The intervention's name.
        hook: The hook that returned them.

    Raises:
        InterventionError: Another shape.
    """
    if weights.shape != rows.weights.shape:
        got = describe({"weights": weights, "rows": rows.weights})
        _refuse(hook, got, "weights of the rows' shape", name)


def validate_gain(gain: Float[torch.Tensor, "..."], rows: AttentionRows, name: str) -> None:
    """Refuse gains of another shape.

    Args:
        gain: What ``head_gain`` returned.
        rows: The rows it saw ``[batch, row, head, key]``.
        name: The intervention's name.

    Raises:
        InterventionError: Another shape.
    """
    if gain.shape != rows.weights.shape[:-1]:
        _refuse("head_gain", describe({"gain": gain, "rows": rows.weights}), "one gain per row and head", name)


def validate_values(new: Float[torch.Tensor, "..."], seen: Float[torch.Tensor, "..."], hook: str, name: str) -> None:
    """Refuse values of another shape than those that a hook was shown.

    Args:
        new: What the hook returned.
        seen: What it saw: a residual stream, an MLP's output, or logits.
        hook: ``edit_hidden``, ``edit_mlp`` or ``mix_logits``.
        name: The intervention's name.

    Raises:
        InterventionError: Another shape.
    """
    if new.shape != seen.shape:
        what, expected = _SHAPES[hook]
        _refuse(hook, describe({"new": new, what: seen}), expected, name)


def require_values(hook: str, name: str, *, spoiled: bool, masked: bool) -> None:
    """Refuse invalid values of an edit, once they have been checked.

    Args:
        hook: The hook that returned them.
        name: The intervention's name.
        spoiled: Whether one of them was not finite.
        masked: Whether a key that the row may not see got weight.

    Raises:
        InterventionError: Either.
    """
    if spoiled:
        _refuse(hook, "NaN or infinity", _WANTED[hook], name)
    if masked:
        _refuse(hook, "weight on a masked key", "0 on padding and on later keys", name)


def require_scores(name: str, *, spoiled: bool) -> None:
    """Refuse NaN of a logits processor, or of mixed logits.

    Args:
        name: The intervention's name.
        spoiled: Whether there was any.

    Raises:
        InterventionError: There was.
    """
    if spoiled:
        expected, fix = (
            "scores, or -inf for tokens that cannot be chosen",
            "check its logits processor, or its mix_logits",
        )
        raise InterventionError(message("NaN", expected, fix, task=f"choose tokens with {name}"))


def edited_rows(
    rows: AttentionRows, weights: Float[torch.Tensor, "batch row head key"], *, all_heads: bool
) -> AttentionRows:
    """The rows with an intervention's weights, and scores that belong to them.

    Args:
        rows: The rows the intervention saw.
        weights: What it returned, of their shape.
        all_heads: Whether it changes every head of every row.

    Returns:
        New rows.
    """
    edited = rows.replace(weights=weights, scores=lambda: _edited_scores(rows, weights))
    edited.changes_all_heads = all_heads or rows.changes_all_heads
    return edited


def _refuse(hook: str, got: str, expected: str, name: str) -> None:
    raise InterventionError(message(got, expected, f"check {hook}", task=_DOING[hook].format(name)))


def _edited_scores(
    rows: AttentionRows, weights: Float[torch.Tensor, "batch row head key"]
) -> Float[torch.Tensor, "batch row head key"]:
    """Scores whose softmax is the edited weights, so that interventions on scores stack on edited rows.

    Rows that did not change keep their own, so that a row is worth the same alone and in a block; the others are on
    the same scale, because an intervention may multiply scores.
    """
    changed: Bool[torch.Tensor, "batch row head 1"] = (weights != rows.weights).any(-1, keepdim=True)
    scale = torch.logsumexp(rows.scores, -1, keepdim=True)
    return torch.where(changed, log_weights(weights) + scale, rows.scores)
