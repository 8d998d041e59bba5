"""A trace whose attention is known because it was planted: for tests, examples and calibrating the eye."""

from typing import Annotated, Literal

import torch

from lvlmscope.errors import ModelInputError, message
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.token_layout import Cell, ImageLayout, Kind, Layout
from lvlmscope.traces.trace import Trace

__all__ = ["planted_trace"]


@checked
def planted_trace(
    *,
    mass: float = 0.5,
    sink: float = 0.25,
    patch: Annotated[int, Range(ge=0)] | None = None,
    steps: Annotated[int, Range(ge=1)] = 3,
    layers: Annotated[int, Range(ge=1)] = 2,
    heads: Annotated[int, Range(ge=1)] = 4,
    side: Annotated[int, Range(ge=1)] = 4,
    salient: int | Literal["previous"] | None = None,
    turn: float | None = None,
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
        salient: Key that takes all of the gradient, or `"previous"`: the key of the token before (at the first step
            that of the question). The trace has gradients where this is given.
        turn: Angle in radians by which each layer turns the hidden state of the predicting row, its length kept. The
            trace has hidden states (of width 2) where this is given.

    Raises:
        ModelInputError: Shares outside [0, 1] or above 1 together, or a patch or a salient key that the trace does not
            have.

    >>> planted_trace(patch=7).attention[0, 0, 0, 1 + 7].item()
    0.5
    """
    if min(mass, sink) < 0 or mass + sink > 1:
        got = f"mass={mass} and sink={sink}"
        raise ModelInputError(message(got, "shares of 1 that sum to at most 1", "lower them", task="plant a trace"))
    if patch is not None and patch >= side * side:
        got, expected = f"patch={patch}", f"a patch of the image, 0 to {side * side - 1}, or None"
        raise ModelInputError(message(got, expected, "choose one", task="plant a trace"))
    if isinstance(salient, int) and not 0 <= salient < side * side + 2:
        expected = f"a prompt key, 0 to {side * side + 1}, or 'previous'"
        raise ModelInputError(message(f"salient={salient}", expected, "choose one", task="plant a trace"))
    count = side * side
    keys = 2 + count + steps - 1
    weights = torch.zeros(steps, layers, heads, keys)
    weights[..., 0] = sink
    weights[..., 1 : 1 + count] = mass / count if patch is None else 0.0
    if patch is not None:
        weights[..., 1 + patch] = mass
    for step in range(steps):
        weights[step, ..., 1 + count : 2 + count + step] = (1 - mass - sink) / (1 + step)
    words = tuple(f" word{n}" for n in range(steps))
    return Trace(
        attention=weights,
        layer_indices=tuple(range(layers)),
        answer_ids=torch.arange(steps),
        log_probs=torch.full((steps,), -0.5),
        entropy=torch.ones(steps),
        margin=torch.ones(steps),
        top_ids=torch.zeros(steps, 5, dtype=torch.int64),
        top_log_probs=torch.full((steps, 5), -1.0),
        layout=_layout(side, steps),
        tokens=("<s>", *["<image>"] * count, "?", *words[:-1]),
        answer_tokens=words,
        prompt="?",
        answer="".join(words),
        gradient=None if salient is None else _gradient(weights, salient, first=1 + count),
        hidden_states=None if turn is None else _turning(turn, steps, layers),
    )


def _layout(side: int, steps: int) -> Layout:
    boxes = [(c * 14.0, r * 14.0, c * 14.0 + 14, r * 14.0 + 14) for r in range(side) for c in range(side)]
    cells = tuple(Cell(key=1 + n, image=0, row=n // side, column=n % side, box=box) for n, box in enumerate(boxes))
    image = ImageLayout(cells=cells, size=(14 * side, 14 * side), grid=(side, side))
    image_kind: Kind = "image"
    answer_kind: Kind = "answer"
    kinds: tuple[Kind, ...] = ("system", *[image_kind] * side**2, "question", *[answer_kind] * (steps - 1))
    return Layout(kinds=kinds, images=(image,))


def _gradient(weights: torch.Tensor, salient: int | str, *, first: int) -> torch.Tensor:
    """-1 at one key of each row, 0 elsewhere; `first` is the question's key."""
    gradient = torch.zeros_like(weights)
    for step in range(weights.shape[0]):
        gradient[step, ..., salient if isinstance(salient, int) else first + step] = -1.0
    return gradient


def _turning(turn: float, steps: int, layers: int) -> torch.Tensor:
    """Unit vectors `[step, layer + 1, 2]`, turned once a layer."""
    angles = turn * torch.arange(layers + 1)
    return torch.stack([angles.cos(), angles.sin()], -1).expand(steps, -1, -1).clone()
