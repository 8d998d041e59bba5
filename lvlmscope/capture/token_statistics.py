"""Probability of each answer token, how sure the model was, and what else it considered."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch

__all__ = ["Probabilities", "read_probabilities", "step_blocks"]

_ALTERNATIVES: Final = 5
_BLOCK: Final = 2**21  # logits at once: 8 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probabilities:
    """Per-step statistics of the next-token distribution, batch first, float32 on the CPU, nats.

    Attributes:
        log_probs: ``ln p`` of the token taken ``[batch, step]``.
        entropy: Entropy of the distribution ``[batch, step]``.
        margin: Gap between the two highest log-probabilities ``[batch, step]``.
        top_ids: Most probable tokens ``[batch, step, 5]``.
        top_log_probs: Their log-probabilities ``[batch, step, 5]``.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    margin: torch.Tensor
    top_ids: torch.Tensor
    top_log_probs: torch.Tensor


def read_probabilities(logits: torch.Tensor, answer: torch.Tensor) -> Probabilities:
    """Statistics of the model's own distribution, before any sampling setting.

    Args:
        logits: ``[batch, step, vocabulary]``.
        answer: Ids of the tokens taken ``[batch, step]``.

    Returns:
        The statistics.
    """
    blocks = [_read_block(logits[:, part], answer[:, part]) for part in step_blocks(logits)]
    each = (torch.cat(parts, 1).cpu() for parts in zip(*blocks, strict=True))
    log_probs, entropy, margin, top_ids, top_log_probs = each
    return Probabilities(
        log_probs=log_probs, entropy=entropy, margin=margin, top_ids=top_ids, top_log_probs=top_log_probs
    )


def step_blocks(logits: torch.Tensor) -> Iterator[slice]:
    """Steps to compute with together: whole vocabularies of all steps are large, single steps many kernels.

    Args:
        logits: ``[batch, step, vocabulary]``.

    Yields:
        Consecutive steps, at least one, with at most two million logits where there are more.
    """
    batch, steps, vocabulary = logits.shape
    size = max(1, _BLOCK // max(batch * vocabulary, 1))
    for start in range(0, steps, size):
        yield slice(start, min(start + size, steps))


def _read_block(logits: torch.Tensor, answer: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The statistics of some steps ``[batch, step, ...]``."""
    logs = torch.log_softmax(logits.float(), -1)
    top = logs.topk(min(_ALTERNATIVES, logs.shape[-1]), -1)
    log_probs = logs.gather(-1, answer.to(logs.device).unsqueeze(-1)).squeeze(-1)
    entropy = torch.special.entr(logs.exp()).sum(-1)
    return log_probs, entropy, top.values[..., 0] - top.values[..., 1], top.indices, top.values
