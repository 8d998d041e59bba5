"""Cells with gates that differ from channel to channel, and folders of them."""

import functools
import tempfile
from typing import Any

import torch

from lvlmscope.interventions.depth_cell import CellConfig, DepthCell


def lively(hidden: int = 48, *, seed: int = 3, **options: Any) -> DepthCell:
    """A cell whose gates lie anywhere between 0 and 1."""
    cell = DepthCell(CellConfig(hidden_size=hidden, **options), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return cell


@functools.cache
def _folders() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cells-")


@functools.cache
def saved(hidden: int = 48) -> str:
    """The folder of a lively cell; it goes when the tests end."""
    folder = f"{_folders().name}/{hidden}"
    lively(hidden).save(folder)
    return folder
