"""A trace whose attention is known because it was planted: for tests, examples and calibrating the eye."""

import torch

from lvlmscope.errors import ModelInputError, message
from lvlmscope.layout import Cell, ImageLayout, Kind, Layout
from lvlmscope.record import Trace

__all__ = ["planted_trace"]


def planted_trace(
    *,
    mass: float = 0.5,
    sink: float = 0.25,
    patch: int | None = None,
    steps: int = 3,
    layers: int = 2,
    heads: int = 4,
    side: int = 4,
) -> Trace:
    """A trace without a model: key 0 is a sink, then `side * side` image keys, one question key, then the answer.

    Every row puts `mass` on the image (evenly, or all on one `patch`), `sink` on key 0, and the rest evenly on the
    question and the answer so far.

    Args:
        mass: Share of attention on the image, in [0, 1].
        sink: Share on key 0; with `mass` at most 1.
        patch: Image patch that takes all of `mass`, row by row from 0; None spreads it.
        steps: Generated tokens.
        layers: Layers.
        heads: Heads.
        side: Patches along each side of the square image, 14 pixels each.

    Raises:
        ModelInputError: Shares outside [0, 1] or above 1 together.

    >>> planted_trace(patch=7).attention[0, 0, 0, 1 + 7].item()
    0.5
    """
    if min(mass, sink) < 0 or mass + sink > 1:
        received = f"mass={mass} and sink={sink}"
        raise ModelInputError(message("plant a trace", received, "shares of 1 that sum to at most 1", "lower them"))
    count = side * side
    keys = 2 + count + steps - 1
    weights = torch.zeros(steps, layers, heads, keys)
    weights[..., 0] = sink
    weights[..., 1 : 1 + count] = mass / count if patch is None else 0.0
    if patch is not None:
        weights[..., 1 + patch] = mass
    for step in range(steps):
        weights[step, ..., 1 + count : 2 + count + step] = (1 - mass - sink) / (1 + step)
    boxes = [(c * 14.0, r * 14.0, c * 14.0 + 14, r * 14.0 + 14) for r in range(side) for c in range(side)]
    cells = tuple(Cell(key=1 + n, image=0, row=n // side, column=n % side, box=box) for n, box in enumerate(boxes))
    image = ImageLayout(cells=cells, size=(14 * side, 14 * side), grid=(side, side))
    image_kind: Kind = "image"
    answer_kind: Kind = "answer"
    kinds: tuple[Kind, ...] = ("system", *[image_kind] * count, "question", *[answer_kind] * (steps - 1))
    words = tuple(f" word{n}" for n in range(steps))
    return Trace(
        attention=weights,
        layer_indices=tuple(range(layers)),
        image_keys=torch.tensor([False] + [True] * count + [False] * steps),
        answer_ids=torch.arange(steps),
        log_probs=torch.full((steps,), -0.5),
        entropy=torch.ones(steps),
        margin=torch.ones(steps),
        top_ids=torch.zeros(steps, 5, dtype=torch.int64),
        top_log_probs=torch.full((steps, 5), -1.0),
        layout=Layout(kinds=kinds, images=(image,)),
        tokens=("<s>", *["<image>"] * count, "?", *words[:-1]),
        answer_tokens=words,
        prompt="?",
        answer="".join(words),
    )
