"""Occlusion, integrated gradients and infidelity by their formulas: float64, loops, no captum and no library."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tests.reference import decoder

Score = Callable[[Any], float]


def covered(image: np.ndarray, rows: int, columns: int, part: tuple[int, int]) -> np.ndarray:
    """The image [height, width, 3] with one part of an even grid in its mean colour, pixel by pixel."""
    height, width = image.shape[:2]
    mean = [round(float(image[..., channel].astype(np.float64).mean())) for channel in range(3)]
    found = image.copy()
    for y in range(height):
        for x in range(width):
            if (y * rows // height, x * columns // width) == part:
                found[y, x] = mean
    return found


def occlusion(image: np.ndarray, rows: int, columns: int, score: Score) -> list[list[float]]:
    own = score(image)
    return [
        [own - score(covered(image, rows, columns, (row, column))) for column in range(columns)] for row in range(rows)
    ]


def word_score(
    model: Any, embeds: torch.Tensor, prompt_length: int, answer: Sequence[int], steps: Sequence[int]
) -> torch.Tensor:
    """Sum of the log-probabilities of the word's tokens, from embeddings [position, hidden] of prompt and answer."""
    logits = decoder.logits(model, embeds, prompt_length - 1, decoder.unedited)
    logs = torch.log_softmax(logits, -1)
    total = torch.zeros((), dtype=torch.float64)
    for step in steps:
        total = total + logs[step, answer[step]]
    return total


def integrated_gradients(
    own: torch.Tensor, start: torch.Tensor, score: Callable[[torch.Tensor], torch.Tensor], n_steps: int
) -> list[float]:
    """One value for each image token: Gauss-Legendre quadrature of the gradient along the straight path."""
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    mean = torch.zeros_like(own)
    for node, weight in zip(nodes, weights, strict=True):
        point = (start + (node + 1) / 2 * (own - start)).requires_grad_()
        (slope,) = torch.autograd.grad(score(point), point)
        mean = mean + weight / 2 * slope
    return [float(((own - start) * mean)[token].sum()) for token in range(len(own))]


def infidelity(saliency: np.ndarray, gone: np.ndarray, losses: Sequence[float], *, normalise: bool) -> float:
    """`gone` [draw, part] says which parts went, `losses` what each draw cost."""
    foretold = [
        sum(float(weight) for weight, away in zip(saliency.ravel(), draw.ravel(), strict=True) if away) for draw in gone
    ]
    factor = 1.0
    if normalise:
        factor = sum(f * loss for f, loss in zip(foretold, losses, strict=True)) / sum(f * f for f in foretold)
    return sum((factor * f - loss) ** 2 for f, loss in zip(foretold, losses, strict=True)) / len(losses)
