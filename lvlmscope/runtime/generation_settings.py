"""The settings of one call of ``generate``: what transformers itself resolves, before anything runs."""

from collections.abc import Mapping
from typing import Any, Final

import torch

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message

__all__ = ["answer_limit", "plain_settings", "refuse_unsupported", "resolve_settings", "searches_beams"]

_TASK: Final = "trace a generation"
# Settings under which each forward is one token of one answer, and values that keep to that. The first turns a
# model's own setting off.
_ACCEPTED: Final[dict[str, tuple[Any, ...]]] = {
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "num_beam_groups": (1, None),
    "constraints": (None,),
    "force_words_ids": (None,),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "guidance_scale": (None, 1),
    "token_healing": (False, None),
    "prompt_lookup_num_tokens": (None,),
    "assistant_early_exit": (None,),
    "use_mtp": (False, None),
    "cache_implementation": (None, "dynamic"),
    "prefill_chunk_size": (None,),
    "use_cache": (True, None),
}
# Arguments of generate that are no settings
_NEVER: Final = ("assistant_model", "custom_generate", "past_key_values", "inputs_embeds")
_OURS: Final = (
    "return_dict_in_generate",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
)


def resolve_settings(core: Any, options: Mapping[str, Any]) -> Any:
    """The generation config in force: options over a given config over the model's own over transformers' defaults.

    Transformers prepares it, so that what it unsets or renames (the "hybrid" cache of released Gemma 3) is as
    ``generate`` will have it.

    Args:
        core: The module whose loop runs: the model itself, or a language model in it.
        options: Keyword arguments of ``generate``; the model's inputs among them do no harm.

    Returns:
        A ``GenerationConfig`` of its own.

    Raises:
        UnsupportedModelError: The module has no ``generate`` of transformers.
        ValueError: Options that transformers refuses.
    """
    prepare = getattr(core, "_prepare_generation_config", None)
    if prepare is None:
        got, expected = f"{type(core).__name__} without transformers' generate", "a GenerationMixin"
        raise UnsupportedModelError(message(got, expected, "register a Family whose core has it", task=_TASK))
    options = {name: value for name, value in options.items() if not isinstance(value, torch.Tensor)}
    return prepare(options.pop("generation_config", None), **options)[0]


def refuse_unsupported(core: Any, options: Mapping[str, Any], *, batch: int, beams: bool = False) -> Any:
    """Refuse settings whose answer cannot be replayed row by row, given or the model's own.

    Args:
        core: As for `resolve_settings`.
        options: Keyword arguments of ``generate``.
        batch: Number of samples.
        beams: Whether beam search is followed, where it draws nothing.

    Returns:
        The settings in force.

    Raises:
        UnsupportedOptionError: One of them, by name, with what to do about it.
        UnsupportedModelError: As for `resolve_settings`.
    """
    for name in (*_NEVER, *_OURS):
        if name in options and (name in _OURS or options[name] is not None):
            fix = f"leave {name} out"
            if name in _OURS:
                fix += ": the trace holds attention, log-probabilities and, on request, hidden states"
            raise UnsupportedOptionError(message(name, "options that choose tokens", fix, task=_TASK))
    try:
        settings = resolve_settings(core, options)
    except ValueError:  # transformers refuses some combinations of them, in words of its own
        _refuse_by_name(_Unresolved(core, options), options, beams=beams)
        raise
    _refuse_by_name(settings, options, beams=beams)
    if settings.max_time is not None and batch > 1:
        got = f"max_time={settings.max_time!r} for {batch} samples"
        fix = "trace one sample at a time, or limit max_new_tokens"
        raise UnsupportedOptionError(message(got, "a limit that does not depend on the batch", fix, task=_TASK))
    return settings


def plain_settings(core: Any) -> dict[str, Any]:
    """Options that turn off which of the model's own settings cannot be replayed, for forwards that choose nothing.

    Args:
        core: As for `resolve_settings`.

    Returns:
        Keyword arguments of ``generate``, empty for most models.
    """
    own = core.generation_config
    options = {name: accepted[0] for name, accepted in _ACCEPTED.items() if _refused(own, name)}
    return options | {name: None for name in ("max_time", "stop_strings") if getattr(own, name, None) is not None}


def searches_beams(core: Any, options: Mapping[str, Any]) -> bool:
    """Whether ``generate`` would keep several beams.

    Args:
        core: As for `resolve_settings`.
        options: Keyword arguments of ``generate``.

    Returns:
        Whether it would; False for settings that cannot be resolved together.
    """
    sources = (options.get("generation_config"), getattr(core, "generation_config", None))
    found = (value for source in sources if (value := getattr(source, "num_beams", None)) is not None)
    beams = options["num_beams"] if "num_beams" in options else next(found, None)
    return (beams or 1) > 1


def answer_limit(core: Any, prompt: int, options: Mapping[str, Any]) -> int:
    """Answer tokens at most.

    Args:
        core: As for `resolve_settings`.
        prompt: Prompt tokens.
        options: Keyword arguments of ``generate``.

    Returns:
        A number of steps.
    """
    settings = resolve_settings(core, options)
    if settings.max_new_tokens is not None:
        return int(settings.max_new_tokens)
    sources = (options.get("generation_config"), core.generation_config)
    chosen = options.get("max_length") is not None or any(getattr(s, "max_length", None) is not None for s in sources)
    # generate counts its default from the prompt's end, and a chosen length from its beginning
    return max(int(settings.max_length) - (prompt if chosen else 0), 1)


class _Unresolved:
    """Settings as they are asked for, where they cannot be resolved together."""

    def __init__(self, core: Any, options: Mapping[str, Any]) -> None:
        self._sources = (options.get("generation_config"), core.generation_config)
        self._options = options

    def __getattr__(self, name: str) -> Any:
        found = (getattr(source, name, None) for source in self._sources)
        return self._options.get(name, next((value for value in found if value is not None), None))


def _refuse_by_name(settings: Any, options: Mapping[str, Any], *, beams: bool) -> None:
    followed = beams and not settings.do_sample
    for name in _ACCEPTED:
        if _refused(settings, name) and not (name == "num_beams" and followed):
            got = f"{name}={getattr(settings, name)!r}"[:80]
            expected = "greedy, sampled or beam-searched answers, one per prompt, with the default cache"
            raise UnsupportedOptionError(message(got, expected, _way_out(name, options), task=_TASK))
    length = settings.max_new_tokens
    if isinstance(length, int) and length < 1:
        got, expected = f"max_new_tokens={length}", "1 token or more"
        raise UnsupportedOptionError(message(got, expected, "allow the answer some length", task=_TASK))


def _refused(settings: Any, name: str) -> bool:
    value = getattr(settings, name, None)
    return not any(value is each or (value == each and each is not None) for each in _ACCEPTED[name])


def _way_out(name: str, options: Mapping[str, Any]) -> str:
    if name in options or getattr(options.get("generation_config"), name, None) is not None:
        return f"leave {name} out, or pass the finished text as answer="
    return f"pass {name}={_ACCEPTED[name][0]} over the model's own setting, or the finished text as answer="
