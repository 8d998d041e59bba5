"""What the forwards of ``generate`` were given and gave, and the cache that lets them be repeated."""

import threading
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

__all__ = ["RETURNED", "TEXT_INPUTS", "ForwardLog", "whole_cache"]

TEXT_INPUTS: Final = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
RETURNED: Final = {
    "use_cache": True,
    "return_dict_in_generate": True,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
}
_RENEWED: Final = {"past_key_values", "logits_to_keep", "return_dict", "cache_position", *RETURNED}


class ForwardLog:
    """Keeps the first and last forward's arguments and every step's last columns; moves the progress bar."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.thread = threading.get_ident()
        self.steps = 0
        self.first: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.positions: list[torch.Tensor] = []
        self.columns: dict[str, list[torch.Tensor]] = {}
        self.logits: list[torch.Tensor] = []

    def keep_logits(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        """Keep the last row's: processors write into a copy of generate's, and into those of ``output_logits``."""
        if threading.get_ident() == self.thread:
            last = output.logits[:, -1]
            self.logits.append(last if output.logits.shape[1] == 1 else last.clone())  # the other rows can be freed

    def __call__(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep what a forward is given.

        Args:
            args: Its positional arguments, which ``generate`` does not use.
            kwargs: Its keyword arguments.
        """
        del args
        if threading.get_ident() != self.thread:  # a plain forward of another thread
            return
        # The cache is not kept here: it grows in place, and a replay from the start makes its own
        kept = {name: value for name, value in kwargs.items() if name not in _RENEWED}
        self.first = self.first or kept
        self.last = kept
        self.steps += 1
        if isinstance(kwargs.get("position_ids"), torch.Tensor):
            self.positions.append(kwargs["position_ids"][..., -1:])
        text = kwargs.get("input_ids") if kwargs.get("input_ids") is not None else kwargs.get("inputs_embeds")
        for name, value in kept.items():
            if text is not None and isinstance(value, torch.Tensor) and value.shape[:2] == text.shape[:2]:
                self.columns.setdefault(name, []).append(value[:, -1:])
        self.bar.update()

    @property
    def per_row(self) -> dict[str, torch.Tensor]:
        """Arguments that had one column per position in every forward, at the predicting rows."""
        whole = {name: parts for name, parts in self.columns.items() if len(parts) == self.steps}
        return {name: torch.cat(parts, 1) for name, parts in whole.items() if name not in TEXT_INPUTS}


def whole_cache(model: Any) -> dict[str, Any]:
    """A cache that keeps what sliding windows would drop, so that it can be cut; the masks still window.

    Returns:
        ``past_key_values``, empty; nothing where the model's own can be cut, or cannot be cut at all.
    """
    if getattr(model.config, "is_encoder_decoder", False) or not hasattr(model.config, "get_text_config"):
        return {}
    cache = DynamicCache(config=model.config)
    kinds = {type(layer).__name__ for layer in cache.layers}
    # Dummies stand for layers that share another's keys
    if "DynamicSlidingWindowLayer" not in kinds or kinds - {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"}:
        return {}
    windowed = [isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers]
    cache.layers = [DynamicLayer() if w else layer for w, layer in zip(windowed, cache.layers, strict=True)]
    return {"past_key_values": cache}
