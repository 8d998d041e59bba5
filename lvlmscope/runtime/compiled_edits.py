"""Edits of attention rows as pure functions of tensors, which torch compiles where a block asks for it."""

import warnings
from collections.abc import Callable
from typing import Any

import torch

from lvlmscope.attention.attention_rows import AttentionRows

__all__ = ["RowEdit", "row_edit"]


class RowEdit:
    """A function of rows, tensors and settings that has no other inputs or effects.

    With `compiled=True` it runs compiled by torch: compiled once for each combination of settings, and again only for a
    new kind of shape (one sample or several, one row or several); the number of keys may change. Where gradients are on
    it runs uncompiled, as the batched backward of a replay cannot go through compiled code.
    """

    def __init__(self, function: Callable[..., Any], *, by_span: bool) -> None:
        """Hold the function; nothing is compiled yet.

        Args:
            function: Gets rows, tensors by position and settings by name.
            by_span: Whether the compiled function sums the image as a slice where it is one block, or always by its
                mask: whichever gives fewer kernels.
        """
        self._function = function
        self._by_span = by_span
        self._made: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._failed = False

    def __call__(self, rows: AttentionRows, *tensors: torch.Tensor, compiled: bool, **settings: Any) -> Any:
        """Call the function, compiled or not.

        Args:
            rows: Attention rows.
            *tensors: More tensors.
            compiled: Whether to run it compiled.
            **settings: Numbers and words.

        Returns:
            The function's result. Where torch cannot compile it, it warns once and runs uncompiled from then on.
        """
        if not compiled or self._failed or torch.is_grad_enabled():
            return self._function(rows, *tensors, **settings)
        span = rows.image_span if self._by_span else None
        key = (span is None, *sorted(settings.items()))
        if key not in self._made:
            self._made[key] = torch.compile(self._on_tensors(settings, span is None), dynamic=True, fullgraph=True)
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        try:
            return self._made[key](rows.weights, rows.image_keys, span or (0, 0), *tensors)
        except (FailOnRecompileLimitHit, TorchDynamoException) as error:
            self._failed = True
            reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
            text = f"{self._function.__name__} runs uncompiled: torch could not compile it ({reason})."
            warnings.warn(text, UserWarning, stacklevel=2)
            return self._function(rows, *tensors, **settings)

    def _on_tensors(self, settings: dict[str, Any], by_mask: bool) -> Callable[..., Any]:
        function = self._function

        def on_tensors(
            weights: torch.Tensor, image_keys: torch.Tensor, span: tuple[int, int], *tensors: torch.Tensor
        ) -> Any:
            rows = AttentionRows(weights, image_keys, image_span=None if by_mask else span)
            return function(rows, *tensors, **settings)

        return on_tensors


def row_edit(*, by_span: bool) -> Callable[[Callable[..., Any]], RowEdit]:
    """Make a function an edit that can be compiled.

    Args:
        by_span: As in `RowEdit`.

    Returns:
        The decorator.
    """
    return lambda function: RowEdit(function, by_span=by_span)
