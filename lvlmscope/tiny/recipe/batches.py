"""Training batches: one image (or a written-out image), several independent questions about it.

The turns of a scene share its prefix but do not see one another: a mask keeps them apart and positions restart behind
the prefix. So each turn is trained exactly as if it were asked alone, at a fraction of the cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from lvlmscope.tiny import captions
from lvlmscope.tiny.composed_scenes import IMAGE_SIZE, Scene
from lvlmscope.tiny.recipe.architecture import IMAGE_TOKENS, PATCH
from lvlmscope.tiny.world import CATEGORIES, SETTINGS

__all__ = ["WORDS", "Batch", "Turn", "batch", "patch_words", "turns", "word_ids"]

WORDS: Final[tuple[str, ...]] = CATEGORIES + tuple(
    SETTINGS
)  # what a patch can show: an object, or the ground of a setting
PROBES: Final = 4
PARTNER_PROBE_RATE: Final = 0.15
VERDICT_WEIGHT: Final = 5.0  # the yes or no of a probe is one token among many: it counts this much more
MIN_COVER: Final = 0.4  # share of a patch that an object's box must cover for the patch to show it
Row = tuple[list[int], list[int], list[int], list[int], list[float]]  # ids, positions, turns, labels, weights
Turn = tuple[str, str, float]  # question, answer, weight of the answer's first token


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tensors of one training step; `mask` is [sample, 1, query, key], True where a query sees a key."""

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor
    labels: Tensor
    weights: Tensor


def word_ids(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The id of each of `WORDS`: the first token of the word as it stands inside a sentence, int64 [word]."""
    ids = [tokenizer.encode(" " + word, add_special_tokens=False)[0] for word in WORDS]
    assert len(set(ids)) == len(WORDS), "two words share their first token: give the tokenizer more merges"
    return torch.tensor(ids)


def patch_words(scene: Scene) -> np.ndarray:
    """The index into `WORDS` of what each patch shows, row by row, int64 [64]; later (smaller) objects lie on top."""
    side = IMAGE_SIZE // PATCH
    grid = np.full((side, side), len(CATEGORIES) + list(SETTINGS).index(scene.setting), dtype=np.int64)
    edges = np.arange(side) * PATCH
    for name, (left, top, right, bottom) in zip(scene.objects, scene.boxes, strict=True):
        across = np.clip(np.minimum(edges + PATCH, right) - np.maximum(edges, left), 0, None) / PATCH
        down = np.clip(np.minimum(edges + PATCH, bottom) - np.maximum(edges, top), 0, None) / PATCH
        cover = np.outer(down, across)
        grid[cover >= min(MIN_COVER, cover.max())] = CATEGORIES.index(name)
    return grid.reshape(-1)


def turns(rng: np.random.Generator, scene: Scene) -> list[Turn]:
    """A long description, at times a short one, yes/no probes in balance, and a question about place or number."""
    o, present = scene.objects, scene.present
    result: list[Turn] = [
        (str(rng.choice(captions.DESCRIBE)), captions.describe(rng, o, scene.boxes, scene.setting), 1.0)
    ]
    if rng.random() < 0.3:
        result.append((str(rng.choice(captions.DESCRIBE_SHORT)), captions.describe_short(rng, o, scene.setting), 1.0))
    partners, others = (captions.negatives(rng, present, kind) for kind in ("partner", "random"))
    for number in range(PROBES):
        if number % 2:
            name = str(rng.choice(sorted(present)))
        else:
            name = str(rng.choice(partners)) if partners and rng.random() < PARTNER_PROBE_RATE else others[number]
        result.append((*captions.probe(rng, name, name in present), VERDICT_WEIGHT))
    question = captions.where_question(rng, o, scene.boxes) if rng.random() < 0.5 else captions.count_question(rng, o)
    return [*result, (*question, 1.0)]


def batch(tokenizer: PreTrainedTokenizerFast, prefixes: Sequence[list[int]], turns: Sequence[list[Turn]]) -> Batch:
    """Packs each sample's prefix and turns into one padded row with the mask that keeps turns apart."""
    rows: list[Row] = [_row(tokenizer, prefix, sample) for prefix, sample in zip(prefixes, turns, strict=True)]
    size, length = len(rows), max(len(row[0]) for row in rows)
    ids = torch.zeros(size, length, dtype=torch.long)
    positions, turn = torch.zeros_like(ids), torch.full_like(ids, -1)
    labels, weights = torch.full_like(ids, -100), torch.zeros(size, length)
    for n, columns in enumerate(rows):
        for target, values in zip((ids, positions, turn, labels, weights), map(torch.tensor, columns), strict=True):
            target[n, : len(values)] = values
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = turn[:, :, None] == turn[:, None, :]
    mask = causal & (same | (turn == 0)[:, None, :]) | torch.eye(length, dtype=torch.bool)
    return Batch(input_ids=ids, position_ids=positions, mask=mask[:, None], labels=labels, weights=weights)


def _row(tokenizer: PreTrainedTokenizerFast, prefix: list[int], turns: list[Turn]) -> Row:
    """Ids, positions, turns (0: prefix), labels moved to their predicting positions, and weights of one sample."""
    ids, positions, turn = list(prefix), list(range(len(prefix))), [0] * len(prefix)
    labels, weights = [-100] * len(prefix), [0.0] * len(prefix)
    prompts = tokenizer([f"\n{q} ASSISTANT:" for q, *_ in turns], add_special_tokens=False).input_ids
    answers = tokenizer([f" {a}</s>" for _, a, _ in turns], add_special_tokens=False).input_ids
    for number, (prompt, answer, (_, _, first)) in enumerate(zip(prompts, answers, turns, strict=True), start=1):
        size = len(prompt) + len(answer)
        ids += prompt + answer
        positions += range(len(prefix), len(prefix) + size)
        turn += [number] * size
        labels += [-100] * (len(prompt) - 1) + answer + [-100]
        weights += [0.0] * (len(prompt) - 1) + [first] + [1.0] * (len(answer) - 1) + [0.0]
    return ids, positions, turn, labels, weights


def image_prefix(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """`<s>USER: ` and the places of the image tokens."""
    head: list[int] = tokenizer("USER: ").input_ids
    return head + [3] * IMAGE_TOKENS


def written_prefix(tokenizer: PreTrainedTokenizerFast, words: Tensor, grid: np.ndarray) -> list[int]:
    """`<s>USER: ` and the scene written out as 64 words, one for each patch."""
    head: list[int] = tokenizer("USER: ").input_ids
    return head + words[torch.from_numpy(grid)].tolist()
