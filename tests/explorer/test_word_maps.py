"""Relevance, words on words and words on patches, each beside loops in float64."""

import numpy as np
import pytest
import torch

from lvlmscope import Trace
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError
from lvlmscope.explorer.map_budget import kept_maps
from lvlmscope.explorer.packed_numbers import unpacked
from lvlmscope.explorer.word_maps import WordMaps
from tests.support.varied_traces import varied_trace, words_and_pieces


@pytest.fixture
def trace() -> Trace:
    return words_and_pieces(varied_trace(gradients=True, steps=5), " car", "pet", " on", " the", " floor")


def relevance(trace: Trace, steps: tuple[int, ...], layer: int, head: int, key: int) -> float:
    assert trace.gradient is not None
    at = [(step, layer, head, key) for step in steps]
    return sum(max(0.0, -float(trace.attention[place]) * float(trace.gradient[place])) for place in at) / len(steps)


def test_relevance_is_added_over_layers_and_averaged_over_heads(trace: Trace) -> None:
    maps = WordMaps(trace)
    assert maps.names == ("attention", "saliency", "relevance")
    found = maps.over_image("relevance", 0, layers=[1, 2], head=None)
    single = maps.over_image("relevance", 0, layers=[0, 1], head=3)
    for cell, key in enumerate(maps.keys):
        expected = sum(np.mean([relevance(trace, (0, 1), layer, head, key) for head in range(4)]) for layer in (1, 2))
        assert found[cell] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        alone = sum(relevance(trace, (0, 1), layer, 3, key) for layer in (0, 1))
        assert single[cell] == pytest.approx(alone, rel=1e-5, abs=1e-9)
    assert found.max() > 0


def test_a_head_whose_relevance_is_undefined_is_left_out(trace: Trace) -> None:
    trace.attention[0, 1] = float("nan")  # a whole layer of the first token
    found = WordMaps(trace).over_image("relevance", 0, layers=[1, 2], head=None)
    assert found[0] == pytest.approx(np.mean([relevance(trace, (0, 1), 2, head, 1) for head in range(4)]), rel=1e-5)
    assert np.isnan(WordMaps(trace).over_image("relevance", 0, layers=[1], head=None)).all()


def test_a_word_has_attention_on_the_tokens_of_the_words_before_it(trace: Trace) -> None:
    first, maps = trace.num_prompt_keys, WordMaps(trace)
    assert [word.text for word in maps.words] == ["carpet", "on", "the", "floor"]
    found = maps.over_answer("attention", 2, layers=[0, 2], head=None)
    rows = trace.attention[3, [0, 2]].mean((0, 1)).double()
    assert found[:2] == pytest.approx([float(rows[first] + rows[first + 1]), float(rows[first + 2])], rel=1e-5)
    assert found[2:].tolist() == [0.0, 0.0]  # itself and what comes after
    head = maps.over_answer("attention", 2, layers=[1], head=2)
    assert head[1] == pytest.approx(float(trace.attention[3, 1, 2, first + 2]), rel=1e-5)
    whole = maps.over_answer("attention", 3, layers=[0, 1, 2], head=None).sum()
    assert whole == pytest.approx(float(trace.attention[4, ..., first:].sum(-1).mean()), rel=1e-5)


def test_planted_patches_lead_to_their_word() -> None:
    trace = planted_trace(steps=4, patch=None)
    trace.attention[2, ..., 1 + 6] = 0.9
    found = WordMaps(trace).on_cells("attention", [6, 7], layers=range(trace.num_layers), head=None)
    assert int(found.argmax()) == 2
    assert found[2] == pytest.approx(0.9 + float(trace.attention[2, 0, 0, 1 + 7]))
    assert found[0] == pytest.approx(2 * 0.5 / 16)


@pytest.mark.parametrize("cells", [[], [16], [-1]])
def test_patches_that_are_not_there_are_refused(cells: list[int]) -> None:
    with pytest.raises(ModelInputError, match="some of 0 to 15"):
        WordMaps(planted_trace()).on_cells("attention", cells, layers=[0], head=None)


def test_words_on_words_are_kept_in_the_file_by_layer(trace: Trace) -> None:
    maps = WordMaps(trace)
    kept = kept_maps(maps, room=1_000_000)["relevance"]["answer"]
    assert kept["band"] == 1
    stored = unpacked(kept).reshape(4, 3, 4)
    exact = np.stack([maps.answer_by_layer("relevance", word) for word in range(4)])
    assert np.abs(stored - exact).max() <= exact.max() / 254
    tight = kept_maps(WordMaps(varied_trace(layers=8, steps=12)), room=9_000)["attention"]["answer"]
    assert tight["band"] > 1


def test_image_keys_in_one_block_are_read_without_a_copy(trace: Trace) -> None:
    maps = WordMaps(trace)
    assert maps._image == slice(1, 17)
    view = maps._reader("attention", maps._image)(0)
    assert view.untyped_storage().data_ptr() == trace.attention.untyped_storage().data_ptr()
    assert torch.equal(view, trace.attention[0, ..., 1:17])
