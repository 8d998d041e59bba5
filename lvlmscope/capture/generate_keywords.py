"""Keywords that are handed on to ``generate``, refused by name where nothing would take them."""

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Final

import torch
from transformers import GenerationConfig, GenerationMixin

from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.models.families import Family
from lvlmscope.registry import close_match

__all__ = ["refuse_unknown_keywords"]

# What ``generate`` or a model's preparation takes out of its keywords by name, beside what signatures say
_TAKEN: Final = frozenset(
    {
        "tokenizer",
        "assistant_tokenizer",
        "trust_remote_code",
        "mm_encoder_outputs",
        "mm_token_type_ids",
        "token_type_ids",
    }
)

_COUNTS: Final = ("max_new_tokens", "min_new_tokens", "max_length", "min_length", "num_beams", "num_return_sequences")


def refuse_unknown_keywords(
    function: Callable[..., Any], model: Any, family: Family, keywords: Mapping[str, Any]
) -> None:
    """Refuse keywords that are neither the function's own nor known to ``generate`` and the model.

    Args:
        function: The public function that was called.
        family: Its family's rules.
        keywords: What it would hand on.

    Raises:
        UnsupportedOptionError: One of them, with the close name; or a number of tokens that is no whole number.
    """
    for name in _COUNTS:
        if (value := keywords.get(name)) is not None and not _is_count(value):
            got, fix = " ".join(f"{name}={value!r}".split())[:80], f"pass {name}= as an int"
            raise UnsupportedOptionError(message(got, "a whole number", fix, task=f"call {function.__name__}"))
    core = family.core(model)
    configs = (GenerationConfig(), getattr(core, "generation_config", None))
    known = {name for config in configs if config is not None for name in vars(config) if not name.startswith("_")}
    known |= _TAKEN
    for owner, method in ((GenerationMixin, "generate"), (model, "generate"), (model, "forward"), (core, "forward")):
        if (taken := getattr(owner, method, None)) is not None:
            known |= inspect.signature(taken).parameters.keys()
    for name in keywords:
        if name not in known:
            own = inspect.signature(function).parameters.keys() - {"generation"}
            close = close_match(name, own) or close_match(name, known)
            fix = f"did you mean {close!r}" if close else "leave it out"
            expected = f"a parameter of lv.{function.__name__}, or a keyword of generate"
            raise UnsupportedOptionError(message(f"{name}=", expected, fix, task=f"call {function.__name__}"))


def _is_count(value: Any) -> bool:
    """What ``generate`` calculates with as with an int."""
    if isinstance(value, torch.Tensor):
        return value.dim() == 0 and not value.is_floating_point() and value.dtype != torch.bool
    return isinstance(value, Integral) and not isinstance(value, bool)
