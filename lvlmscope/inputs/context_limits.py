"""Refusals before anything runs: prompts past the model's context, image tokens without images."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from lvlmscope.errors import LvlmscopeError, ModelInputError, PromptError, first_line, message
from lvlmscope.hooks.user_code import is_users_own
from lvlmscope.models.families import Family
from lvlmscope.models.input_names import is_image_input

__all__ = ["blame_inputs", "context_length", "require_context", "require_images"]

_STRETCHING = ("linear", "dynamic", "yarn")


def context_length(model: torch.nn.Module, family: Family) -> int | None:
    """Tokens the decoder has positions for, with a rotary scale that stretches them.

    Args:
        family: Its family's rules.

    Returns:
        ``max_position_embeddings``, or the original length times the factor of a linear, dynamic or YaRN scale where
        that is more (other scales' factors are in it already); None when the config names none.
    """
    config = family.text_config(model)
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    scale = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [kind for kind in (scale, *scale.values()) if isinstance(kind, Mapping)]
    stretched = [
        (kind.get("original_max_position_embeddings") or limit) * kind["factor"]
        for kind in kinds
        if kind.get("factor") and kind.get("rope_type", kind.get("type")) in _STRETCHING
    ]
    return int(max([limit, *stretched]))


def require_context(model: torch.nn.Module, family: Family, prompt: int, steps: int) -> None:
    """Refuse a prompt, or an answer after it, that runs past the model's context.

    Args:
        family: Its family's rules.
        prompt: Prompt tokens, image tokens counted.
        steps: Answer tokens that are asked for.

    Raises:
        PromptError: It does. ``generate`` itself goes on with positions that the model never saw.
    """
    limit = context_length(model, family)
    if limit is not None and prompt + steps > limit:
        got = f"{prompt} prompt tokens, those of images counted, and {steps} of the answer"
        room = limit - prompt
        fix = f"ask for max_new_tokens={room} at most" if room > 0 else "shorten the prompt, or use smaller images"
        raise PromptError(message(got, f"{limit} positions in all", fix, task="fit the model's context"))


def require_images(model: torch.nn.Module, family: Family, inputs: Mapping[str, Any]) -> None:
    """Refuse image tokens whose images are missing: the placeholders' own embeddings would be traced.

    Args:
        family: Its family's rules.
        inputs: Prepared inputs.

    Raises:
        ModelInputError: Image tokens, but no pixels.
    """
    count = int(family.image_mask(model, inputs["input_ids"]).sum())
    if count and not any(_shows(name, value) for name, value in inputs.items()):
        got, fix = f"{count} image tokens and no pixels", "pass all that the processor returns, pixel_values too"
        raise ModelInputError(message(got, "the images of every image token", fix, task="use prepared inputs"))


def _shows(name: str, value: Any) -> bool:
    """Whether an input holds pixels or features, not only sizes and grids, which are whole numbers."""
    if not is_image_input(name) or value is None:
        return False
    return not isinstance(value, torch.Tensor) or value.is_floating_point() or "pixel_values" in name


@contextmanager
def blame_inputs(forwards: Callable[[], int]) -> Iterator[None]:
    """Turn a model's own failure on the prompt into an error about its inputs, which do not fit together.

    Args:
        forwards: Says how many forwards have begun. A ValueError before the first one is about options, not inputs, and
            a RuntimeError inside one may be anything's, a user's hook among them.

    Yields:
        Nothing.

    Raises:
        ModelInputError: The model failed before or in its first forward with an error of shapes, counts or indices.
    """
    try:
        yield
    except (LvlmscopeError, torch.OutOfMemoryError):
        raise
    except (ValueError, RuntimeError, IndexError) as error:
        others = ValueError if forwards() == 0 else RuntimeError
        if forwards() > 1 or isinstance(error, others) or is_users_own(error):
            raise
        got = f"inputs on which it fails: {first_line(error)}"
        expected = "as many image tokens as its images give, and ids of its vocabulary"
        fix = "pass what the model's own processor returns, unchanged"
        raise ModelInputError(message(got, expected, fix, task="run the model on the prompt")) from error
