"""Generation as the user configured it, on the model's own kernel, with what a replay of it needs."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import StoppingCriteriaList
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.hooks.instance_attributes import shadowed
from lvlmscope.hooks.user_code import noting_callables
from lvlmscope.inputs.context_limits import blame_inputs, is_image_input
from lvlmscope.interface.progress import bar as progress_bar
from lvlmscope.models.families import Family
from lvlmscope.runtime.generation_settings import refuse_unsupported

__all__ = ["Generation", "generate_answer", "teacher_force", "whole_cache"]

_SECONDS_BEFORE_BAR = 1.5
_TEXT = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
_RETURNED: Final = {
    "use_cache": True,
    "return_dict_in_generate": True,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
}
_USERS: Final = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "streamer")
_RENEWED: Final = {"past_key_values", "logits_to_keep", "return_dict", "cache_position", *_RETURNED}
_REPORTED: Final = (
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "max_new_tokens",
    "repetition_penalty",
    "eos_token_id",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generation:
    """A finished answer and what the replay needs to repeat its forwards.

    Attributes:
        ids: Prompt and answer with padding ``[batch, prompt + step]``.
        prompt_length: Prompt columns, padding counted.
        steps: Number of answer tokens of each sample, its end token counted.
        cache: Keys and values of the prompt's and all but the last answer's positions (teacher forcing: of the prompt).
        attention_mask: ``[batch, prompt + step - 1]``.
        position_ids: Position of each predicting row ``[..., batch or 1, step]``, None when the model makes its own.
        extra: Keyword arguments of the last forward that do not depend on the position.
        per_row: Keyword arguments with one column per position, of the predicting rows, ``[batch, step, ...]``.
        first: Keyword arguments of the prompt's forward, image inputs among them, for a replay from the start.
        logits: What the forwards gave ``generate`` ``[batch, step, vocabulary]``, before any logits processor; only
            the first step's when teacher forced.
        settings: The generation settings (JSON values).
    """

    ids: torch.Tensor
    prompt_length: int
    steps: tuple[int, ...]
    cache: Any
    attention_mask: torch.Tensor
    position_ids: torch.Tensor | None
    extra: dict[str, Any]
    per_row: dict[str, torch.Tensor]
    first: dict[str, Any]
    logits: torch.Tensor
    settings: dict[str, Any]

    @property
    def num_steps(self) -> int:
        """Steps of the longest answer."""
        return self.ids.shape[1] - self.prompt_length


class _ForwardLog:
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
        return {name: torch.cat(parts, 1) for name, parts in whole.items() if name not in _TEXT}


def generate_answer(
    model: Any, family: Family, inputs: dict[str, Any], options: dict[str, Any], *, progress: bool = True
) -> Generation:
    """Run ``model.generate`` untouched.

    Args:
        family: Its family's rules.
        inputs: Prepared inputs, left-padded.
        options: Keyword arguments for ``generate``.
        progress: Show a bar when it takes longer than a second and a half.

    Returns:
        The generation.

    Raises:
        UnsupportedOptionError: A setting, given or the model's own, whose answer cannot be replayed row by row.
        UnsupportedModelError: A model whose ``generate`` is not that of transformers.
        ModelInputError: Inputs on which the model fails.
    """
    core = family.core(model)
    settings = refuse_unsupported(core, options, batch=inputs["input_ids"].shape[0])
    inputs, cache = _on_device(model, inputs), whole_cache(model)
    options_and_ours = options | _RETURNED | ({"cache_implementation": None} if cache else {})
    shown: dict[str, Any] = {"desc": "generate", "unit": "token", "delay": _SECONDS_BEFORE_BAR, "leave": False}
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(total=settings.max_new_tokens, shown=progress, **shown))
        log, ends = _ForwardLog(bar), stack.enter_context(_recorded_ends(core))
        stack.callback(core.register_forward_pre_hook(log, with_kwargs=True).remove)
        stack.callback(core.register_forward_hook(log.keep_logits).remove)
        stack.enter_context(blame_inputs(lambda: log.steps))
        stack.enter_context(noting_callables({name: options[name] for name in _USERS if options.get(name) is not None}))
        output = model.generate(**inputs, **cache, **options_and_ours)
    prompt = inputs["input_ids"].shape[1]
    steps = output.sequences.shape[1] - prompt
    if log.steps != steps:
        got = f"{log.steps} forwards of {type(core).__name__} for {steps} tokens"
        fix = "register a Family whose core is the module that generate calls"
        raise UnsupportedModelError(message(got, "one forward per token", fix, task="follow a generation"))
    per_row = log.per_row
    extra = {n: v for n, v in log.last.items() if n not in _TEXT and n not in per_row and not is_image_input(n)}
    return Generation(
        ids=output.sequences,
        prompt_length=prompt,
        steps=_answer_lengths(ends, steps, len(output.sequences)),
        cache=output.past_key_values,
        attention_mask=_extended(inputs["attention_mask"], steps - 1),
        position_ids=torch.cat(log.positions, -1) if len(log.positions) == steps else None,
        extra=extra,
        per_row=per_row,
        first=log.first,
        logits=torch.stack(log.logits, 1),
        settings=_settings(settings, options),
    )


def _on_device(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs where the model begins; as they are when its first weights wait elsewhere ("meta") to be fetched."""
    if model.device.type == "meta":
        return dict(inputs)
    return {name: value.to(model.device) if hasattr(value, "to") else value for name, value in inputs.items()}


def teacher_force(generation: Generation, answer: torch.Tensor) -> Generation:
    """The same prompt with an answer given in advance.

    Args:
        generation: A generation of one step, which filled the cache with the prompt; of two, where arguments with a
            column per position must be right after the prompt, too.
        answer: Ids ``[step]``, the same for every sample.

    Returns:
        What a replay needs; the cache is shared.
    """
    prompt = generation.ids[:, : generation.prompt_length]
    batch, steps = prompt.shape[0], len(answer)
    positions = generation.position_ids
    if positions is not None:
        positions = positions[..., :1] + torch.arange(steps, device=positions.device)
    return Generation(
        ids=torch.cat([prompt, answer.to(prompt.device).expand(batch, -1)], 1),
        prompt_length=generation.prompt_length,
        steps=(steps,) * batch,
        cache=generation.cache,
        attention_mask=_extended(generation.attention_mask[:, : generation.prompt_length], steps - 1),
        position_ids=positions,
        extra=generation.extra,
        per_row={
            name: torch.cat([rows[:, :1], rows[:, -1:].expand(-1, steps - 1, *rows.shape[2:])], 1)
            for name, rows in generation.per_row.items()
        },
        first=generation.first,
        logits=generation.logits[:, :1],
        settings=generation.settings | {"answer": "given"},
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


def _extended(mask: torch.Tensor, steps: int) -> torch.Tensor:
    return torch.cat([mask, mask.new_ones(mask.shape[0], steps)], 1)


@contextmanager
def _recorded_ends(core: Any) -> Iterator[list[torch.Tensor]]:
    """Which samples ended at each step, bool ``[batch]``, as the stopping criteria of ``generate`` say it."""
    ends: list[torch.Tensor] = []
    thread = threading.get_ident()
    original = core._get_stopping_criteria  # noqa: SLF001 - the only place where all criteria are together

    def recorded(*args: Any, **options: Any) -> StoppingCriteriaList:
        criteria = original(*args, **options)
        return _RecordedCriteria(criteria, ends) if threading.get_ident() == thread else criteria

    with shadowed(core, "_get_stopping_criteria", recorded):
        yield ends


class _RecordedCriteria(StoppingCriteriaList):
    def __init__(self, criteria: StoppingCriteriaList, ends: list[torch.Tensor]) -> None:
        super().__init__(criteria)
        self.ends = ends

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> Any:
        ended = super().__call__(input_ids, scores, **options)
        self.ends.append(ended)
        return ended


def _answer_lengths(ends: list[torch.Tensor], steps: int, batch: int) -> tuple[int, ...]:
    """Answer tokens of each sample: up to the step at which a criterion ended it; the batch goes on without it."""
    if len(ends) < steps:
        got, expected = f"{len(ends)} checks of the stopping criteria for {steps} tokens", "one check per token"
        fix = "trace a model on the generate of transformers"
        raise UnsupportedModelError(message(got, expected, fix, task="follow a generation"))
    ended = torch.stack([flags.expand(batch) for flags in ends[:steps]], 1).tolist()
    # The first True; the last step of all where there is none
    return tuple(row.index(True) + 1 if True in row else steps for row in ended)


def _settings(settings: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options given, and the settings in force (JSON values)."""
    given = options.get("generation_config")
    names = (*_REPORTED, *(given.to_diff_dict() if given is not None else ()))
    found = {name: getattr(settings, name, None) for name in names}
    found |= {name: value for name, value in options.items() if name != "generation_config"}
    plain = (str, int, float, bool, list, type(None))
    return {name: value if isinstance(value, plain) else repr(value)[:200] for name, value in found.items()}
