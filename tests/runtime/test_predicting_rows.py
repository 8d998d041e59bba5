"""A language model that gets its prompt embedded: the ids that ``generate`` knows are taken only where they fit."""

from typing import Any

import pytest
import torch

from lvlmscope.errors import ModelInputError
from lvlmscope.runtime.predicting_rows import ForwardTracker
from lvlmscope.runtime.protocol import ForwardInfo


class Embedded(torch.nn.Module):
    def forward(self, inputs_embeds: torch.Tensor, past_key_values: Any = None) -> torch.Tensor:
        del past_key_values
        return inputs_embeds


@pytest.fixture
def seen() -> Any:
    """Forwards that were followed, of a model whose prompts are two rows of four ids."""
    model, found = Embedded(), []
    tracker = ForwardTracker(model, lambda ids: ids == 9)
    tracker.on_begin = found.append
    tracker.install()
    tracker.set_sequence(torch.tensor([[1, 9, 9, 2], [3, 9, 9, 4]]), 4)
    yield model, found
    tracker.remove()


def test_ids_that_are_known_stand_for_the_embeddings_and_for_several_rows_of_a_prompt(seen: Any) -> None:
    model, found = seen
    model(inputs_embeds=torch.zeros(2, 4, 8))
    model(inputs_embeds=torch.zeros(4, 4, 8))
    assert all(isinstance(each, ForwardInfo) for each in found)
    assert [each.token_ids[:, 0].tolist() for each in found] == [[1, 3], [1, 1, 3, 3]]
    assert found[0].image_keys.tolist() == [[False, True, True, False]] * 2


@pytest.mark.parametrize("shape", [(2, 5, 8), (4, 3, 8), (3, 4, 8), (2, 1, 8)])
def test_embeddings_of_other_prompts_are_refused(seen: Any, shape: tuple[int, ...]) -> None:
    model, found = seen
    with pytest.raises(ModelInputError, match="got a forward with inputs_embeds only; expected: input_ids"):
        model(inputs_embeds=torch.zeros(*shape))
    assert not found
