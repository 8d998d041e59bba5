"""Generation as the user configured it, on the model's own kernel, with what a replay of it needs."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import StoppingCriteriaList

from lvlmscope.decoding.forward_log import RETURNED, ForwardLog, recorded_generation, whole_cache
from lvlmscope.decoding.generation_record import BeamAnswers, Generation
from lvlmscope.decoding.second_sequence import in_branch
from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.hooks.instance_attributes import shadowed
from lvlmscope.hooks.user_code import noting_callables
from lvlmscope.inputs.context_limits import blame_inputs
from lvlmscope.interface.progress import bar as progress_bar
from lvlmscope.interface.progress import tell
from lvlmscope.models.families import Family
from lvlmscope.runtime.generation_settings import answer_limit, refuse_unsupported

__all__ = ["generate_answer", "search_beams"]

_SECONDS_BEFORE_BAR = 1.5
_USERS: Final = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "streamer")
_REPORTED: Final = (
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "max_new_tokens",
    "repetition_penalty",
    "eos_token_id",
)


def generate_answer(
    model: Any,
    family: Family,
    inputs: dict[str, Any],
    options: dict[str, Any],
    *,
    progress: bool = True,
    announced: bool = False,
) -> Generation:
    """Run ``model.generate`` untouched.

    Args:
        family: Its family's rules.
        inputs: Prepared inputs, left-padded.
        options: Keyword arguments for ``generate``.
        progress: Show a bar when it takes longer than a second and a half.
        announced: Tell who is listening of each token.

    Returns:
        The generation.

    Raises:
        UnsupportedOptionError: A setting, given or the model's own, whose answer cannot be replayed row by row.
        UnsupportedModelError: A model whose ``generate`` is not that of transformers.
        ModelInputError: Inputs on which the model fails.
    """
    made = _generated(model, family, inputs, options, progress=progress, announced=announced)
    prompt = made.inputs["input_ids"].shape[1]
    steps = made.output.sequences.shape[1] - prompt
    if made.log.steps != steps:
        raise _not_followed(family.core(model), made.log.steps, steps)
    lengths = _answer_lengths(made.ends, steps, len(made.output.sequences))
    return recorded_generation(
        made.log, made.inputs, made.output, lengths=lengths, settings=_settings(made.settings, options)
    )


def search_beams(
    model: Any, family: Family, inputs: dict[str, Any], options: dict[str, Any], *, progress: bool = True
) -> BeamAnswers:
    """Run ``model.generate`` with several beams, untouched, and tell who is listening of each token.

    Args:
        family: Its family's rules.
        inputs: As for `generate_answer`.
        options: As for `generate_answer`.
        progress: As for `generate_answer`.

    Returns:
        The hypothesis of each sample that ``generate`` returns, with the logits of the beams that it came from.

    Raises:
        UnsupportedOptionError: As for `generate_answer`; sampled beams.
        UnsupportedModelError: As for `generate_answer`.
        ModelInputError: As for `generate_answer`.
    """
    made = _generated(model, family, inputs, options, progress=progress, announced=True, beams=True)
    prompt, output, logits = made.inputs["input_ids"].shape[1], made.output, made.log.logits
    came_from = getattr(output, "beam_indices", None)
    if came_from is None or len(logits) < came_from.shape[1]:
        raise _not_followed(family.core(model), len(logits), output.sequences.shape[1] - prompt)
    steps = came_from.shape[1]
    total = output.sequences.shape[0] * int(made.settings.num_beams)
    each = zip(logits[:steps], came_from.clamp_min(0).long().T, strict=True)
    # A prompt that was run once has a row for each sample
    kept = [of_step[(rows * len(of_step) // total).to(of_step.device)] for of_step, rows in each]
    return BeamAnswers(
        ids=output.sequences[:, prompt : prompt + steps],
        steps=tuple((came_from >= 0).sum(1).tolist()),
        logits=torch.stack(kept, 1),
        settings=_settings(made.settings, options) | {"num_beams": int(made.settings.num_beams)},
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Generated:
    """What one call of ``generate`` gave, and what was noted of it."""

    log: ForwardLog
    ends: list[torch.Tensor]
    inputs: dict[str, Any]
    output: Any
    settings: Any


def _generated(
    model: Any,
    family: Family,
    inputs: dict[str, Any],
    options: dict[str, Any],
    *,
    progress: bool,
    announced: bool,
    beams: bool = False,
) -> _Generated:
    core = family.core(model)
    settings = refuse_unsupported(core, options, batch=inputs["input_ids"].shape[0], beams=beams)
    inputs, cache = _on_device(model, inputs), whole_cache(model)
    options_and_ours = options | RETURNED | ({"cache_implementation": None} if cache else {})
    most = answer_limit(core, inputs["input_ids"].shape[1], options)
    shown: dict[str, Any] = {"desc": "generate", "unit": "token", "delay": _SECONDS_BEFORE_BAR, "leave": False}
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(total=most, shown=progress, **shown))

        def began() -> None:
            bar.update()
            if announced:
                tell(log.steps, most)

        log, ends = ForwardLog(began), stack.enter_context(_recorded_ends(core))
        log.hook(core, stack)
        stack.enter_context(blame_inputs(lambda: log.steps))
        stack.enter_context(noting_callables({name: options[name] for name in _USERS if options.get(name) is not None}))
        output = model.generate(**inputs, **cache, **options_and_ours)
    if announced:
        tell(log.steps, None)
    return _Generated(log=log, ends=ends, inputs=inputs, output=output, settings=settings)


def _not_followed(core: torch.nn.Module, forwards: int, steps: int) -> UnsupportedModelError:
    got = f"{forwards} forwards of {type(core).__name__} for {steps} tokens"
    fix = "register a Family whose core is the module that generate calls"
    return UnsupportedModelError(message(got, "one forward per token", fix, task="follow a generation"))


def _on_device(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs where the model begins; as they are when its first weights wait elsewhere ("meta") to be fetched."""
    if model.device.type == "meta":
        return dict(inputs)
    return {name: value.to(model.device) if hasattr(value, "to") else value for name, value in inputs.items()}


@contextmanager
def _recorded_ends(core: Any) -> Iterator[list[torch.Tensor]]:
    """Which samples ended at each step, bool ``[batch]``, as the stopping criteria of ``generate`` say it."""
    ends: list[torch.Tensor] = []
    thread = threading.get_ident()
    original = core._get_stopping_criteria  # noqa: SLF001 - the only place where all criteria are together

    def recorded(*args: Any, **options: Any) -> StoppingCriteriaList:
        criteria = original(*args, **options)
        own = threading.get_ident() == thread and not in_branch()
        return _RecordedCriteria(criteria, ends) if own else criteria

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
