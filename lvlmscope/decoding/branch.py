"""A branch: a second sequence with the answer's tokens after other inputs, with its own cache."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int

from lvlmscope.decoding.forward_log import RETURNED, ForwardLog, recorded_generation, whole_cache
from lvlmscope.decoding.generation_record import Generation, extended_mask
from lvlmscope.decoding.second_sequence import second_sequence
from lvlmscope.errors import UnsupportedModelError, message

__all__ = ["Branch", "rows_continued"]


class Branch:
    """The same answer after another prompt or image: logits of each step, token by token or as one block.

    Its prompt runs through the model's own ``generate``, its tokens through the forwards that ``generate`` would make,
    with positions, padding and masks of this prompt. The cache is freed with the branch. Attributes that the prompt's
    forward sets on modules for later steps (``rope_deltas`` of Qwen) are restored.
    """

    def __init__(
        self,
        model: Any,
        core: Any,
        inputs: Mapping[str, Any],
        *,
        options: Mapping[str, Any],
        apart: Callable[[], AbstractContextManager[Any]] = nullcontext,
        reorders: bool = False,
    ) -> None:
        """Store the inputs; nothing runs before the first logits are requested.

        Args:
            model: The whole model.
            core: The module whose forward ``generate`` calls.
            inputs: Keyword arguments of ``generate`` by name, left-padded.
            options: Generation settings: greedy, one new token.
            apart: Makes a context in which every forward of the branch runs.
            reorders: Whether the rows of an answer may be reordered between steps, as in beam search.
        """
        self._model, self._core, self._inputs = model, core, dict(inputs)
        self._options, self._apart, self._reorders = dict(options), apart, reorders
        self._prompt: Generation | None = None
        self._fed: torch.Tensor | None = None
        self._last: torch.Tensor | None = None
        self._block: torch.Tensor | None = None

    def logits(self, answer: Int[torch.Tensor, "row step"]) -> Float[torch.Tensor, "row vocabulary"]:
        """Logits of the next token.

        Args:
            answer: The answer's tokens so far; for each prompt one row, or one for each beam or returned sequence.

        Returns:
            The model's own logits under the other inputs, in its dtype.

        Raises:
            UnsupportedModelError: Rows that are not a multiple of the prompts.
        """
        if self._block is not None:
            return self._block[:, answer.shape[1]]
        prompt = self._begin(answer)
        assert self._fed is not None
        assert self._last is not None
        if self._reorders:
            self._follow(answer)
        known = self._fed.shape[1]
        if answer.shape[1] > known:
            self._last = self._forward(prompt, answer, known)[:, -1]
            self._fed = answer
        return self._last

    def replay(self, answer: Int[torch.Tensor, "row step"]) -> None:
        """Run a whole answer as one block; `logits` then returns its steps.

        Args:
            answer: All tokens.
        """
        prompt = self._begin(answer)
        assert self._last is not None
        first = self._last.unsqueeze(1)
        later = [self._forward(prompt, answer[:, :-1], 0)] if answer.shape[1] > 1 else []
        self._block = torch.cat([first, *later], 1)

    def _begin(self, answer: torch.Tensor) -> Generation:
        """The prompt's forward, once."""
        if self._prompt is None:
            each = self._rows_of_a_prompt(answer.shape[0])
            with second_sequence(), self._apart(), ExitStack() as steps:
                steps.enter_context(_unchanged_modules(self._model))
                log = ForwardLog()
                log.hook(self._core, steps)
                output = self._model.generate(**self._inputs, **whole_cache(self._model), **self._options, **RETURNED)
            lengths = (1,) * output.sequences.shape[0]
            made = recorded_generation(log, self._inputs, output, lengths=lengths, settings={})
            self._prompt = made if each == 1 else _spread(made, each)
            self._last, self._fed = self._prompt.logits[:, 0], answer[:, :0]
        return self._prompt

    def _rows_of_a_prompt(self, rows: int) -> int:
        """Rows of the answer for each prompt: one, or one for each beam or returned sequence."""
        prompts = int(self._inputs["input_ids"].shape[0])
        each, left = divmod(rows, prompts)
        if left or not each:
            got, expected = f"{rows} rows for {prompts} prompts", "as many for each prompt"
            raise UnsupportedModelError(message(got, expected, "generate on your own inputs", task="run a branch"))
        return each

    def _follow(self, answer: torch.Tensor) -> None:
        """Reorder the cache as beam search did: each row continues the row that has its first tokens."""
        assert self._fed is not None
        assert self._prompt is not None
        source = rows_continued(self._fed, answer, prompts=len(self._inputs["input_ids"]))
        self._prompt.cache.reorder_cache(source)
        assert self._last is not None
        self._fed, self._last = self._fed[source], self._last[source]

    def _forward(self, prompt: Generation, answer: torch.Tensor, start: int) -> torch.Tensor:
        """Logits of the rows of answer tokens from one on, after those before it."""
        ids, end = answer[:, start:], answer.shape[1]
        own = {name: rows[:, -1:].expand(-1, ids.shape[1], *rows.shape[2:]) for name, rows in prompt.per_row.items()}
        given = prompt.extra | own | {"input_ids": ids, "use_cache": True, "past_key_values": prompt.cache}
        if prompt.position_ids is not None:
            first = prompt.position_ids[..., -1:]
            given["position_ids"] = first + torch.arange(start + 1, end + 1, device=first.device)
        given["attention_mask"] = extended_mask(prompt.attention_mask, end)
        with second_sequence(), self._apart():
            logits: torch.Tensor = self._core(**given, return_dict=True).logits
        return logits


def rows_continued(
    before: Int[torch.Tensor, "row known"], answer: Int[torch.Tensor, "row step"], *, prompts: int
) -> Int[torch.Tensor, "row"]:
    """For each row of an answer, the row of an earlier step that has its first tokens.

    Args:
        before: The rows then.
        answer: The rows now.
        prompts: Number of prompts, whose rows lie side by side.

    Returns:
        Indices of rows; of several rows with the same tokens the first.

    >>> rows_continued(torch.tensor([[4], [5]]), torch.tensor([[5, 7], [4, 7]]), prompts=1).tolist()
    [1, 0]
    """
    samples = torch.arange(len(answer), device=answer.device) // (len(answer) // prompts)
    first = answer[:, None, : before.shape[1]]
    same = (first == before[None].to(answer)).all(-1) & (samples[:, None] == samples[None])
    return same.int().argmax(-1)


def _spread(made: Generation, each: int) -> Generation:
    """A prompt that was run once, repeated for several rows of an answer; its cache is repeated in place."""
    batch = made.ids.shape[0]

    def rows(value: Any, dim: int = 0) -> Any:
        whole = isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[dim] == batch
        return value.repeat_interleave(each, dim) if whole else value

    made.cache.batch_repeat_interleave(each)
    return replace(
        made,
        ids=rows(made.ids),
        attention_mask=rows(made.attention_mask),
        position_ids=rows(made.position_ids, -2),
        extra={name: rows(value) for name, value in made.extra.items()},
        per_row={name: rows(value) for name, value in made.per_row.items()},
        logits=rows(made.logits),
    )


@contextmanager
def _unchanged_modules(model: torch.nn.Module) -> Iterator[None]:
    """Restore the attributes of modules that a prompt's forward sets for the steps after it."""
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for own, kept in before:
            changed = [name for name in own.keys() | kept.keys() if own.get(name) is not kept.get(name)]
            for name in changed:
                if name in kept:
                    own[name] = kept[name]
                else:
                    del own[name]
