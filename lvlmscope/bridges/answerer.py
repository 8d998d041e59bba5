"""A model under interventions that answers conversations in batches; every bridge to another tool uses it."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Final

import torch

from lvlmscope.cli.intervention_syntax import parse_stack
from lvlmscope.errors import PromptError, UnsupportedOptionError, message, task
from lvlmscope.evaluation.captioning import Answers, timed_answers
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.models.loaded_model import LoadedModel
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.verification.loading import load

__all__ = ["Answerer", "parse_interventions", "process_device"]

_OPTIONS: Final = ("do_sample", "temperature", "top_p", "top_k", "num_beams", "repetition_penalty")


class Answerer:
    """A loaded model, the interventions under which it generates, and the batch size."""

    @checked
    def __init__(
        self,
        model: LoadedModel | str,
        interventions: Sequence[Intervention] | str = (),
        *,
        batch_size: Annotated[int, Range(ge=1)] = 1,
        **loading: Any,
    ) -> None:
        """Load the model where it is given by name.

        Args:
            model: The result of `load`, a hub id or a folder.
            interventions: Interventions in order, or a text such as `"clva:alpha=0.5;beta=0.1+locore"`.
            batch_size: Conversations in one `generate`.
            **loading: Options of `load`, for a model given by name.

        Raises:
            LvlmscopeError: As for `load`; no such intervention or parameter.
        """
        self.stack = parse_interventions(interventions) if isinstance(interventions, str) else tuple(interventions)
        self.model = load(model, **loading) if isinstance(model, str) else model
        self.batch_size = batch_size

    @task("answer conversations")
    def answer(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        **generation: Any,
    ) -> Answers:
        """Answers to conversations, in order.

        Args:
            conversations: Messages of each, as chat templates take them: `{"role": "user", "content": [{"type":
                "image", "image": ...}, {"type": "text", "text": ...}]}`.
            max_new_tokens: Largest number of new tokens in each answer.
            stop: Stop sequences; the answer is cut before the first one. Empty ones are ignored.
            **generation: do_sample, temperature, top_p, top_k, num_beams and repetition_penalty. Greedy when
                do_sample is not given and the temperature is 0 or None; temperature, top_p and top_k are then
                ignored.

        Returns:
            Texts, number of tokens, whether each was cut at `max_new_tokens`, and seconds.

        Raises:
            PromptError: A conversation without messages, or one that the model's template cannot take.
            UnsupportedOptionError: An option that is not listed above.
        """
        for number, messages in enumerate(conversations):
            if not messages:
                got, fix = f"conversation {number} without messages", "give at least one turn"
                raise PromptError(message(got, "a list of turns", fix))
        options = _generation(generation)
        pairs: list[tuple[Any, Any]] = [(None, list(messages)) for messages in conversations]
        under = intervene(self.model, *self.stack, family=self.model.family) if self.stack else nullcontext()
        with under:
            found = timed_answers(
                self.model.model,
                self.model.processor,
                pairs,
                max_new_tokens=max_new_tokens,
                batch_size=self.batch_size,
                **options,
            )
        texts = tuple(_cut_at(text, stop) for text in found.texts)
        return Answers(texts=texts, tokens=found.tokens, cut=found.cut, seconds=found.seconds)


def parse_interventions(text: str) -> tuple[Intervention, ...]:
    """Interventions from a text in which `;` stands for the comma, at which other tools split their options.

    Args:
        text: As on the command line of lvlmscope; empty for none.

    Returns:
        The interventions, in order.

    Raises:
        InterventionError: No such intervention or parameter.

    >>> [type(each).__name__ for each in parse_interventions("clva:alpha=0.5;beta=0.1+locore")]
    ['CLVA', 'LocoRE']
    """
    return parse_stack(text.replace(";", ",")) if text.strip() else ()


def process_device() -> str | None:
    """The GPU of this process by `LOCAL_RANK`, as `cuda:0`; None on a machine without one."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else None


def _generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `generate`: those of sampling only where it samples."""
    if unknown := sorted(set(given) - set(_OPTIONS)):
        got = ", ".join(f"{name}={given[name]!r}" for name in unknown)
        raise UnsupportedOptionError(message(got, ", ".join(_OPTIONS), "leave it out"))
    known = {name: value for name, value in given.items() if value is not None}
    sampled = known.pop("do_sample", bool(known.get("temperature")))
    if not sampled:
        known = {name: value for name, value in known.items() if name not in ("temperature", "top_p", "top_k")}
    return known | {"do_sample": bool(sampled)}


def _cut_at(text: str, stop: Sequence[str]) -> str:
    for end in stop:
        text = text.split(end, 1)[0] if end else text
    return text.strip()
