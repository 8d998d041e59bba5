"""A look ahead: an answer continued by each of several tokens, which the cache then forgets."""

from typing import Final

import torch
from jaxtyping import Int

from lvlmscope.decoding.branch import Branch
from lvlmscope.decoding.forward_arguments import can_be_cut
from lvlmscope.errors import UnsupportedModelError, message

__all__ = ["LookAhead"]

_TASK: Final = "look at the tokens that may come next"


class LookAhead(Branch):
    """The same answer after the same prompt, in one row for each candidate of each of the answer's rows."""

    def run(self, answer: Int[torch.Tensor, "row step"], candidates: Int[torch.Tensor, "row candidate"]) -> None:
        """One forward: the answer's tokens that were not run before, then the candidate.

        Args:
            answer: The answer's tokens so far; for each prompt one row, or one for each beam or returned sequence.
            candidates: As many tokens for each row as in the calls before.

        Raises:
            UnsupportedModelError: A cache from which the candidate cannot be taken away again.
        """
        rows = answer.repeat_interleave(candidates.shape[1], 0)
        continued = torch.cat([rows, candidates.reshape(-1, 1).to(rows)], 1)
        prompt = self._begin(rows)
        if not can_be_cut(prompt.cache):
            got, expected = f"{type(self._model).__name__}, whose cache cannot be cut", "a cache of keys and values"
            raise UnsupportedModelError(message(got, expected, "leave the intervention out", task=_TASK))
        assert self._fed is not None
        if self._reorders:
            self._follow(rows)
        self._forward(prompt, continued, self._fed.shape[1])
        prompt.cache.crop(-1)
        self._fed = rows
