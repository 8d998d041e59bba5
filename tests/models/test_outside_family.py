"""A model from outside transformers, with an attention module of its own, served by one small class."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

import lvlmscope as lv
from lvlmscope.hooks.attention_tap import FirstRow, Handler, MethodTap, Tap
from lvlmscope.models.families import FAMILIES, DefaultFamily, family, family_of
from lvlmscope.traces.trace import Trace
from tests.support import tiny_models
from tests.support.tiny_models import IMAGE, PAD, VOCABULARY
from tests.support.traced import from_inputs

WIDTH, HEADS, LAYERS = 32, 4, 2


class ToyConfig(PretrainedConfig):
    model_type = "toy"
    num_attention_heads = HEADS
    num_hidden_layers = LAYERS
    hidden_size = WIDTH
    vocab_size = VOCABULARY
    image_token_id = IMAGE


class ToyAttention(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.layer_idx = number
        self.maps = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def mix(self, query, key, value, mask=None):
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        return (torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ value).transpose(1, 2)

    def forward(self, stream, mask, cache):
        batch, rows, _ = stream.shape
        query, key, value = self.maps(stream).view(batch, rows, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        key, value = cache.update(key, value, self.layer_idx)
        return self.out(self.mix(query, key, value, mask).reshape(batch, rows, WIDTH))


class ToyLayer(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.attention, self.norm = ToyAttention(number), nn.LayerNorm(WIDTH)

    def forward(self, hidden_states, mask, cache):
        return hidden_states + self.attention(self.norm(hidden_states), mask, cache)


class ToyModel(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.words, self.pixels = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(12, WIDTH)
        self.blocks = nn.ModuleList(ToyLayer(n) for n in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, past_key_values=None, pixel_values=None, **_):
        cache = DynamicCache() if past_key_values is None else past_key_values
        past = cache.get_seq_length()
        stream = self.words(input_ids)
        if pixel_values is not None:
            stream = stream.masked_scatter((input_ids == IMAGE).unsqueeze(-1), self.pixels(pixel_values))
        keys = torch.arange(past + input_ids.shape[1])
        itself = keys == keys[past:, None]  # so that a padded query sees something
        mask = (keys <= keys[past:, None])[None, None]
        if attention_mask is not None:  # generate drops a mask of ones
            mask = mask & attention_mask[:, None, None].bool() | itself
        for block in self.blocks:
            stream = block(stream, mask, cache)
        return CausalLMOutputWithPast(logits=self.head(stream), past_key_values=cache)


class ToyFamily(DefaultFamily):
    """All that a user has to write."""

    name = "toy"

    def claims(self, model: nn.Module) -> bool:
        return isinstance(model, ToyModel)

    def decoder(self, model: nn.Module) -> nn.Module:
        return model

    def decoder_layers(self, model: Any) -> Sequence[nn.Module]:
        return list(model.blocks)

    def make_tap(self, model: Any, first_row: FirstRow, handler: Handler) -> Tap:
        return MethodTap([block.attention for block in model.blocks], "mix", first_row, handler)


@pytest.fixture
def toy() -> tuple[ToyModel, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = tiny_models.unit_gain(ToyModel(ToyConfig(pad_token_id=PAD)), 0)
    inputs: dict[str, Any] = tiny_models.left_padded([[IMAGE] * 4] * 2)
    return model, inputs | {"pixel_values": torch.randn(2, 4, 12)}


OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}


def test_it_is_traced_with_gradients_and_interventions(toy: tuple[ToyModel, dict[str, torch.Tensor]]) -> None:
    model, inputs = toy
    before = tiny_models.footprint(model)
    batch = from_inputs(model, inputs, family=ToyFamily(), gradients=True, hidden_states=True, **OPTIONS)
    assert isinstance(batch, list)
    for traced in batch:
        assert traced.image_keys.sum() == 4
        torch.testing.assert_close(traced.attention.sum(-1), torch.ones(4, LAYERS, HEADS))
        assert traced.gradient is not None
        assert traced.gradient.abs().max() > 0
    edited = from_inputs(model, inputs, family=ToyFamily(), interventions=[lv.DLEAF(gamma=0.9)], **OPTIONS)
    assert isinstance(edited, list)
    assert edited[0].effects[0]["edited_heads"] > 0
    assert tiny_models.footprint(model) == before


def test_its_rows_are_those_of_its_own_softmax(toy: tuple[ToyModel, dict[str, torch.Tensor]]) -> None:
    model, inputs = toy
    one = {"input_ids": inputs["input_ids"][:1], "attention_mask": inputs["attention_mask"][:1]}
    one |= {"pixel_values": inputs["pixel_values"][:1]}
    traced = from_inputs(model, one, family=ToyFamily(), **OPTIONS)
    assert isinstance(traced, Trace)
    ids = torch.cat([one["input_ids"], traced.answer_ids[None, :-1]], 1)
    rows = []
    with torch.no_grad():
        stream = model.words(ids).masked_scatter((ids == IMAGE).unsqueeze(-1), model.pixels(one["pixel_values"]))
        mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        for block in model.blocks:
            maps = block.attention.maps(block.norm(stream)).view(1, ids.shape[1], 3, HEADS, -1)
            query, key, _ = maps.permute(2, 0, 3, 1, 4)
            scores = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).masked_fill(~mask, float("-inf"))
            rows.append(torch.softmax(scores, -1)[0, :, -4:])
            stream = block(stream, mask, DynamicCache())
    expected = torch.stack(rows).permute(2, 0, 1, 3)
    torch.testing.assert_close(traced.attention, expected, atol=1e-6, rtol=1e-5)


def test_the_generic_rules_say_that_a_family_is_needed(toy: tuple[ToyModel, dict[str, torch.Tensor]]) -> None:
    model, inputs = toy
    with pytest.raises(lv.LvlmscopeError, match="register a Family"):
        from_inputs(model, inputs, **OPTIONS)


def test_a_class_with_the_decorator_is_found(toy: tuple[ToyModel, dict[str, torch.Tensor]]) -> None:
    model, inputs = toy
    with FAMILIES.temporary():
        family(ToyFamily)
        assert isinstance(family_of(model), ToyFamily)
        assert isinstance(from_inputs(model, inputs, **OPTIONS), list)
        found = lv.check(model, inputs={n: v[1:] for n, v in inputs.items()})
        assert found.passed
        assert "not checked rows equal eager" in repr(found)
    assert "toy" not in FAMILIES
    assert type(family_of(model)) is DefaultFamily
