"""Arguments and logits of the forwards of ``generate``, and a cache from which they can be repeated."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from lvlmscope.decoding.generation_record import Generation, extended_mask
from lvlmscope.decoding.second_sequence import in_branch
from lvlmscope.models.input_names import is_image_input

__all__ = ["RETURNED", "ForwardLog", "recorded_generation", "whole_cache"]

_TEXT: Final = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
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
    """Keeps the first and last forward's arguments, every step's last columns and logits.

    Forwards of other threads and of branches are not counted.
    """

    def __init__(self, on_forward: Callable[[], Any] = lambda: None) -> None:
        """Start empty; nothing is hooked yet.

        Args:
            on_forward: Called at each forward, to move a progress bar.
        """
        self.on_forward = on_forward
        self.branch = in_branch()
        self.thread = threading.get_ident()
        self.steps = 0
        self.first: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.positions: list[torch.Tensor] = []
        self.columns: dict[str, list[torch.Tensor]] = {}
        self.logits: list[torch.Tensor] = []

    @property
    def _is_own(self) -> bool:
        return threading.get_ident() == self.thread and in_branch() is self.branch

    def hook(self, core: torch.nn.Module, steps: ExitStack) -> None:
        """Follow the forwards of a module.

        Args:
            core: What ``generate`` calls.
            steps: Takes the hooks away at its end.
        """
        steps.callback(core.register_forward_pre_hook(self, with_kwargs=True).remove)
        steps.callback(core.register_forward_hook(self.keep_logits).remove)

    def keep_logits(self, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> None:
        """Keep the last row's logits: processors write into generate's copy, and into ``output_logits``."""
        if self._is_own:
            last = output.logits[:, -1]
            self.logits.append(last if output.logits.shape[1] == 1 else last.clone())  # the other rows can be freed

    def __call__(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep what a forward is given.

        Args:
            args: Its positional arguments, which ``generate`` does not use.
            kwargs: Its keyword arguments.
        """
        del args
        if not self._is_own:
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
        self.on_forward()

    @property
    def per_row(self) -> dict[str, torch.Tensor]:
        """Arguments that had one column per position in every forward, at the predicting rows."""
        whole = {name: parts for name, parts in self.columns.items() if len(parts) == self.steps}
        return {name: torch.cat(parts, 1) for name, parts in whole.items() if name not in _TEXT}


def recorded_generation(
    log: ForwardLog, inputs: dict[str, Any], output: Any, *, lengths: tuple[int, ...], settings: dict[str, Any]
) -> Generation:
    """What a finished ``generate`` leaves for a replay.

    Args:
        log: Has followed its forwards, one a token.
        inputs: What it was given.
        output: What it returned.
        lengths: Answer tokens of each sample.
        settings: JSON values.

    Returns:
        The generation.
    """
    prompt = inputs["input_ids"].shape[1]
    steps, per_row = output.sequences.shape[1] - prompt, log.per_row
    extra = {n: v for n, v in log.last.items() if n not in _TEXT and n not in per_row and not is_image_input(n)}
    return Generation(
        ids=output.sequences,
        prompt_length=prompt,
        steps=lengths,
        cache=output.past_key_values,
        attention_mask=extended_mask(inputs["attention_mask"], steps - 1),
        position_ids=torch.cat(log.positions, -1) if len(log.positions) == steps else None,
        extra=extra,
        per_row=per_row,
        inputs=inputs,
        first=log.first,
        logits=torch.stack(log.logits, 1),
        settings=settings,
    )


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
