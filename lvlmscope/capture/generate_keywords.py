"""Keywords that are handed on to ``generate``, refused by name where nothing would take them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

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


def refuse_unknown_keywords(
    function: Callable[..., Any], model: Any, family: Family, keywords: Mapping[str, Any]
) -> None:
    """Refuse keywords that are neither the function's own nor known to ``generate`` and the model.

    Args:
        function: The public function that was called.
        family: Its family's rules.
        keywords: What it would hand on.

    Raises:
        UnsupportedOptionError: One of them, with the close name.
    """
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
