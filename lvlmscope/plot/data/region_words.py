"""From patches to words: how much of each word's attention is on chosen patches of the image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lvlmscope.errors import GeometryError, ModelInputError, message
from lvlmscope.plot.data.head_choice import HeadPart, rows_at
from lvlmscope.plot.data.word_kinds import kinds_of_words
from lvlmscope.traces.token_layout import Box, Cell, ImageLayout
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.word_values import defined_mean
from lvlmscope.traces.words import Word, words_of

__all__ = ["RegionWords", "chosen_cells", "region_words"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionWords:
    """The words of an answer and their attention on a region.

    Attributes:
        words: In the order of the answer.
        kinds: `"grounded"`, `"hallucinated"` or `"other words"` for each.
        attention: On the region's tokens together, shares of 1 ``[word]``; NaN where not defined.
        even: What it would be if each word's attention on the image were spread evenly over its tokens ``[word]``.
    """

    words: tuple[Word, ...]
    kinds: tuple[str, ...]
    attention: np.ndarray
    even: np.ndarray


def chosen_cells(
    layout: ImageLayout,
    box: Box | None,
    patches: Sequence[tuple[int, int]] | None,
    *,
    tile: int | None,
    frame: int,
) -> list[Cell]:
    """The image tokens of a region.

    Args:
        layout: Of the image.
        box: Left, top, right, bottom in pixels: tokens that show some part of it.
        patches: (row, column) pairs of the tile's grid, from the top left.
        tile: The tile; None for all with a box, and for tile 0 with patches.
        frame: Of a video.

    Raises:
        GeometryError: The geometry is not known.
        ModelInputError: Neither box nor patches, both, none of the image, or a patch that is not there.
    """
    if (box is None) == (patches is None):
        got = "box= and patches=" if box is not None else "neither box= nor patches="
        raise ModelInputError(message(got, "one of them", "give a box in pixels, or (row, column) pairs"))
    placed = [cell for cell in layout.placed() if cell.frame == frame]
    if not placed or layout.size is None:
        got, fix = "no image tokens with a place in this frame", "choose another frame, or a trace of an image"
        raise GeometryError(message(got, "tokens that stand for patches", fix))
    if patches is not None:
        grid = {(cell.row, cell.column): cell for cell in placed if cell.tile == (tile or 0)}
        missing = [pair for pair in patches if tuple(pair) not in grid]
        if missing or not patches:
            rows, columns = (max(pair[n] for pair in grid) if grid else -1 for n in (0, 1))
            got = f"patches {missing[:3]}" if missing else "no patches"
            expected = f"(row, column) pairs from (0, 0) to ({rows}, {columns})"
            raise ModelInputError(message(got, expected, "choose among these"))
        return [grid[row, column] for row, column in dict.fromkeys(map(tuple, patches))]
    left, top, right, bottom = box or (0.0, 0.0, 0.0, 0.0)
    found = [
        cell
        for cell in placed
        if tile in (None, cell.tile) and cell.box is not None
        if cell.box[0] < right and left < cell.box[2] and cell.box[1] < bottom and top < cell.box[3]
    ]
    if not found:
        got, expected = f"box={box}", f"left, top, right, bottom within {layout.size[0]} x {layout.size[1]} pixels"
        raise ModelInputError(message(got, expected, "choose a box on the image"))
    return found


def region_words(
    trace: Trace, cells: Sequence[Cell], part: HeadPart, mask: torch.Tensor, marks: dict[str, Iterable[Any]]
) -> RegionWords:
    r"""Each word's attention on tokens of the image: $\sum_{k \in R} a_k$, the mean over its tokens, layers and heads.

    Args:
        cells: The region R.
        part: Layers and heads to average over.
        mask: Sinks to leave out ``[layer, key]``.
        marks: `hallucinated` and `grounded` words.

    Raises:
        ModelInputError: An empty answer, or a mark that is not in it.
    """
    words = words_of(trace)
    if not words:
        raise ModelInputError(message("an empty answer", "one word or more", "trace an answer with words"))
    image, keys = trace.image_keys, [cell.key for cell in cells]
    sums = []
    for step in range(trace.num_steps):
        rows = rows_at(trace, step, mask).float()
        sums.append(part.mean(torch.stack([rows[..., keys].sum(-1), rows[..., image].sum(-1)], -1).numpy()))
    per_step = np.stack(sums)
    by_word = np.stack([defined_mean(per_step[list(word.steps)], 0) for word in words])
    kinds = kinds_of_words(trace, words, hallucinated=marks["hallucinated"], grounded=marks["grounded"])
    left = ~torch.from_numpy(part.left_out(mask))
    even = by_word[:, 1] * int(left[keys].sum()) / max(int((left & image).sum()), 1)
    return RegionWords(words=words, kinds=tuple(kinds), attention=by_word[:, 0], even=even)
