"""The stream before the first and after every layer, however a model calls its layers and whatever these give."""

from typing import Any

import pytest
import torch

from lvlmscope.hooks.hidden_states import HiddenHooks


class Adding(torch.nn.Module):
    """Adds what it is told; gives the stream alone, or first of several."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, hidden_states: torch.Tensor, more: float = 1.0, *, kept: str = "") -> Any:
        found = hidden_states + more
        return found if self.alone else (found, kept, more)


def run(layers: list[Adding], stream: torch.Tensor, *, named: bool) -> tuple[torch.Tensor, list[Any]]:
    rest = []
    for layer in layers:
        given = layer(hidden_states=stream, more=2.0, kept="x") if named else layer(stream, 2.0, kept="x")
        stream, *others = (given,) if layer.alone else given
        rest.append(others)
    return stream, rest


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("edited", [-1, 0, 1, None])
def test_one_place_of_the_stream_is_edited_and_all_are_seen(named: bool, alone: bool, edited: int | None) -> None:
    layers, stream = [Adding(alone=alone), Adding(alone=alone)], torch.zeros(1, 2, 3)
    seen: list[tuple[int, float]] = []

    def edit(number: int, hidden: torch.Tensor) -> torch.Tensor | None:
        seen.append((number, float(hidden[0, 0, 0])))
        return hidden * 3 + 5 if number == edited else None

    hooks = HiddenHooks(layers, edit)
    hooks.set(True)
    hooks.set(True)  # once is enough
    found, rest = run(layers, stream, named=named)
    own = {None: ([0, 2, 4], 4), -1: ([0, 7, 9], 9), 0: ([0, 2, 13], 13), 1: ([0, 2, 4], 17)}[edited]
    assert seen == list(zip((-1, 0, 1), own[0], strict=True))
    assert (found == own[1]).all()
    assert rest == ([[], []] if alone else [["x", 2.0]] * 2)  # what else a layer is given and gives stays
    hooks.set(False)
    hooks.set(False)
    assert (run(layers, stream, named=named)[0] == 4).all()
    assert len(seen) == 3
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
