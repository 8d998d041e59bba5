"""A finished generation: ids, cache, and what its forwards were given."""

from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = ["BeamAnswers", "Generation", "extended_mask", "steps_between", "teacher_force"]


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
        inputs: What ``generate`` was given, on its device: ids and mask of the prompt, the image's inputs.
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
    inputs: dict[str, Any]
    first: dict[str, Any]
    logits: torch.Tensor
    settings: dict[str, Any]

    @property
    def num_steps(self) -> int:
        """Steps of the longest answer."""
        return self.ids.shape[1] - self.prompt_length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeamAnswers:
    """The answers that a beam search kept.

    Attributes:
        ids: Answer tokens with padding ``[batch, step]``.
        steps: As in `Generation`.
        logits: What the forwards of the beams that each answer came from gave ``[batch, step, vocabulary]``.
        settings: The generation settings (JSON values).
    """

    ids: torch.Tensor
    steps: tuple[int, ...]
    logits: torch.Tensor
    settings: dict[str, Any]

    def after(self, prompt: Generation) -> Generation:
        """What a replay of the kept answers needs.

        Args:
            prompt: As for `teacher_force`.

        Returns:
            The answers as if generated, compared at every step with the logits of the beams.
        """
        made = teacher_force(prompt, self.ids)
        return replace(made, steps=self.steps, logits=self.logits, settings=self.settings | {"answer": "beam search"})


def teacher_force(generation: Generation, answer: torch.Tensor) -> Generation:
    """The same prompt with an answer given in advance.

    Args:
        generation: A generation of one step, which filled the cache with the prompt; of two, where arguments with a
            column per position must be right after the prompt, too.
        answer: Ids ``[step]``, the same for every sample, or ``[batch, step]``.

    Returns:
        What a replay needs; the cache is shared.
    """
    prompt = generation.ids[:, : generation.prompt_length]
    batch, steps = prompt.shape[0], answer.shape[-1]
    positions = generation.position_ids
    if positions is not None:
        positions = positions[..., :1] + torch.arange(steps, device=positions.device)
    return Generation(
        ids=torch.cat([prompt, answer.to(prompt.device).expand(batch, -1)], 1),
        prompt_length=generation.prompt_length,
        steps=(steps,) * batch,
        cache=generation.cache,
        attention_mask=extended_mask(generation.attention_mask[:, : generation.prompt_length], steps - 1),
        position_ids=positions,
        extra=generation.extra,
        per_row={
            name: torch.cat([rows[:, :1], rows[:, -1:].expand(-1, steps - 1, *rows.shape[2:])], 1)
            for name, rows in generation.per_row.items()
        },
        inputs=generation.inputs,
        first=generation.first,
        logits=generation.logits[:, :1],
        settings=generation.settings | {"answer": "given"},
    )


def steps_between(generation: Generation, start: int, stop: int) -> Generation:
    """Some steps of an answer, with the tokens before them as the end of the prompt.

    Args:
        generation: The whole answer.
        start: First step.
        stop: Step after the last one.

    Returns:
        What a replay of these steps over the cache needs; the cache is shared, and a sample whose answer ended before
        them has no steps.
    """
    end = generation.prompt_length + stop
    positions = generation.position_ids
    return replace(
        generation,
        ids=generation.ids[:, :end],
        prompt_length=generation.prompt_length + start,
        steps=tuple(min(max(steps - start, 0), stop - start) for steps in generation.steps),
        attention_mask=generation.attention_mask[:, : end - 1],
        position_ids=None if positions is None else positions[..., start:stop],
        per_row={name: rows[:, start:stop] for name, rows in generation.per_row.items()},
        logits=generation.logits[:, start:stop],
    )


def extended_mask(mask: torch.Tensor, steps: int) -> torch.Tensor:
    """An attention mask with more columns, all of them visible.

    Args:
        mask: ``[batch, position]``.
        steps: Number of columns to add.

    Returns:
        ``[batch, position + steps]``.
    """
    return torch.cat([mask, mask.new_ones(mask.shape[0], steps)], 1)
