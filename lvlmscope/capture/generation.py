"""Generation as the user configured it, on the model's own kernel, with what a replay of it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.inputs.limits import blame_inputs, is_image_input
from lvlmscope.models.families import Family

__all__ = ["Generation", "generate_answer", "teacher_force"]

_REFUSED: dict[str, Callable[[Any], bool]] = {
    "num_beams": lambda value: value not in (None, 1),
    "num_return_sequences": lambda value: value not in (None, 1),
    "assistant_model": lambda value: value is not None,
    "prompt_lookup_num_tokens": lambda value: value is not None,
    "assistant_early_exit": lambda value: value is not None,
    "custom_generate": lambda value: value is not None,
    "cache_implementation": lambda value: value not in (None, "dynamic"),
    "past_key_values": lambda value: value is not None,
    "prefill_chunk_size": lambda value: value is not None,
    "inputs_embeds": lambda value: value is not None,
    "use_cache": lambda value: value is False,
}
_OURS = ("return_dict_in_generate", "output_logits", "output_attentions", "output_hidden_states", "output_scores")
_SECONDS_BEFORE_BAR = 1.5
_TEXT = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
_RENEWED = {"past_key_values", "logits_to_keep", "use_cache", "return_dict", "cache_position", *_OURS}


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
        logits: ``generate``'s own logits ``[batch, step, vocabulary]``, only the first step's when teacher forced.
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
        self.steps = 0
        self.first: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.positions: list[torch.Tensor] = []
        self.columns: dict[str, list[torch.Tensor]] = {}

    def __call__(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args
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
        model: The bare model.
        family: Its family's rules.
        inputs: Prepared inputs, left-padded.
        options: Keyword arguments for ``generate``.
        progress: Show a bar when it takes longer than a second and a half.

    Returns:
        The generation.

    Raises:
        UnsupportedOptionError: An option whose answer cannot be replayed row by row, by name.
        ModelInputError: Inputs on which the model fails.
    """
    _refuse(model, options)
    inputs = _on_device(model, inputs)
    total = options.get("max_new_tokens")
    with tqdm(
        total=total, desc="generate", unit="token", delay=_SECONDS_BEFORE_BAR, leave=False, disable=not progress
    ) as bar:
        log = _ForwardLog(bar)
        hook = family.core(model).register_forward_pre_hook(log, with_kwargs=True)
        try:
            with blame_inputs(lambda: log.steps):
                output = model.generate(
                    **inputs,
                    **_whole_cache(model),
                    **options,
                    use_cache=True,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
        finally:
            hook.remove()
    prompt = inputs["input_ids"].shape[1]
    steps = output.sequences.shape[1] - prompt
    if log.steps != steps:
        got = f"{log.steps} forwards of {type(family.core(model)).__name__} for {steps} tokens"
        fix = "register a Family whose core is the module that generate calls"
        raise UnsupportedModelError(message(got, "one forward per token", fix, task="follow a generation"))
    per_row = log.per_row
    extra = {n: v for n, v in log.last.items() if n not in _TEXT and n not in per_row and not is_image_input(n)}
    return Generation(
        ids=output.sequences,
        prompt_length=prompt,
        steps=_answer_lengths(model, output.sequences[:, prompt:], options),
        cache=output.past_key_values,
        attention_mask=_extended(inputs["attention_mask"], steps - 1),
        position_ids=torch.cat(log.positions, -1) if len(log.positions) == steps else None,
        extra=extra,
        per_row=per_row,
        first=log.first,
        logits=torch.stack(output.logits, 1),
        settings=_settings(model, options),
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


def _whole_cache(model: Any) -> dict[str, Any]:
    """A cache that keeps what sliding windows would drop, so that it can be cut; the masks still window."""
    if getattr(model.config, "is_encoder_decoder", False) or not hasattr(model.config, "get_text_config"):
        return {}
    cache = DynamicCache(config=model.config)
    kinds = {type(layer).__name__ for layer in cache.layers}
    # Dummies stand for layers that share another's keys
    if "DynamicSlidingWindowLayer" not in kinds or kinds - {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"}:
        return {}  # what generate makes itself can be cut, or cannot be cut at all
    windowed = [isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers]
    cache.layers = [DynamicLayer() if w else layer for w, layer in zip(windowed, cache.layers, strict=True)]
    return {"past_key_values": cache}


def _refuse(model: Any, options: dict[str, Any]) -> None:
    defaults = getattr(model, "generation_config", None)
    given = options.get("generation_config") or defaults
    for name, refused in _REFUSED.items():
        value = options.get(name, getattr(given, name, None))
        if refused(value):
            expected = "greedy or sampled answers, one per prompt, with the default cache"
            fix = f"leave {name} out, or pass the finished text as answer="
            raise UnsupportedOptionError(message(f"{name}={value!r}"[:80], expected, fix, task="trace a generation"))
    length = options.get("max_new_tokens")
    if isinstance(length, int) and length < 1:
        got, expected = f"max_new_tokens={length}", "1 token or more"
        raise UnsupportedOptionError(message(got, expected, "allow the answer some length", task="trace a generation"))
    for name in _OURS:
        if name in options:
            fix = f"leave {name} out: the trace holds attention, log-probabilities and, on request, hidden states"
            raise UnsupportedOptionError(message(name, "options that choose tokens", fix, task="trace a generation"))


def _extended(mask: torch.Tensor, steps: int) -> torch.Tensor:
    return torch.cat([mask, mask.new_ones(mask.shape[0], steps)], 1)


def _answer_lengths(model: Any, answers: torch.Tensor, options: dict[str, Any]) -> tuple[int, ...]:
    """Answer tokens of each sample: up to its first end token; a batch goes on with pad tokens after it."""
    config = options.get("generation_config") or getattr(model, "generation_config", None)
    ends = options.get("eos_token_id", getattr(config, "eos_token_id", None))
    ends = [] if ends is None else torch.as_tensor(ends).flatten().tolist()
    lengths = []
    for answer in answers.tolist():
        first = next((number for number, token in enumerate(answer) if token in ends), len(answer) - 1)
        lengths.append(first + 1)
    return tuple(lengths)


def _settings(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options given, and the sampling settings in force (JSON values)."""
    config = options.get("generation_config") or getattr(model, "generation_config", None)
    names = ("do_sample", "temperature", "top_k", "top_p", "max_new_tokens", "repetition_penalty", "eos_token_id")
    found = {name: getattr(config, name, None) for name in names} | options
    plain = (str, int, float, bool, list, type(None))
    return {name: value if isinstance(value, plain) else repr(value)[:200] for name, value in found.items()}
