"""Which keys and rows are meant where there are two images, touching boxes and words of several tokens."""

from dataclasses import replace

import pytest
import torch

from lvlmscope.causal.forward_positions import ForwardPositions
from lvlmscope.causal.layer_windows import layer_windows, window_coordinates
from lvlmscope.causal.positions import keys_named, rows_named
from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import ModelInputError
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import words_of


def two_images() -> Trace:
    """Keys: system, 2 x 1 patches, a word, 1 x 2 patches, two words, then the answer " traf", "fic", " light"."""
    trace = planted_trace(steps=4, side=2, layers=2, heads=2)  # 9 keys
    kinds = ("system", "image", "image", "question", "image", "image", "answer", "answer", "answer")
    above = [Cell(key=1 + n, image=0, row=n, column=0, box=(0.0, 8.0 * n, 8.0, 8.0 * n + 8)) for n in (0, 1)]
    beside = [Cell(key=4 + n, image=1, row=0, column=n, box=(8.0 * n, 0.0, 8.0 * n + 8, 8.0)) for n in (0, 1)]
    images = (
        ImageLayout(cells=tuple(above), size=(8, 16), grid=(2, 1)),
        ImageLayout(cells=tuple(beside), size=(16, 8), grid=(1, 2)),
    )
    pieces = (" A", " traf", "fic", " light")
    return replace(
        trace,
        layout=Layout(kinds=kinds, images=images),
        answer_tokens=pieces,
        answer="".join(pieces),  # type: ignore[arg-type]
    )


def numbers(found: torch.Tensor) -> list[int]:
    return found.nonzero().flatten().tolist()


def test_a_box_lies_on_the_image_that_is_named_and_touches_no_neighbour() -> None:
    trace = two_images()
    box = (0.0, 0.0, 8.0, 8.0)
    assert numbers(keys_named(trace, box, 0)) == [1]
    assert numbers(keys_named(trace, box, 1)) == [4]
    assert numbers(keys_named(trace, (0.0, 7.0, 8.0, 9.0), 0)) == [1, 2]
    assert numbers(keys_named(trace, (7.0, 0.0, 9.0, 8.0), 1)) == [4, 5]
    with pytest.raises(ModelInputError, match="which holds no token"):
        keys_named(trace, (8.0, 0.0, 16.0, 8.0), 0)  # beside the first image
    for number in (-1, 2):
        with pytest.raises(ModelInputError, match=f"image {number}; expected: 0 to 1"):
            keys_named(trace, box, number)


def test_kinds_are_those_of_all_images() -> None:
    trace = two_images()
    for kind, keys in (
        ("image", [1, 2, 4, 5]),
        ("question", [3]),
        ("system", [0]),
        ("answer", [6, 7, 8]),
        ("all", list(range(9))),
    ):
        assert numbers(keys_named(trace, kind, 0)) == keys  # type: ignore[arg-type]
    assert numbers(keys_named(trace, [8, 0], 0)) == [0, 8]


def test_rows_are_those_that_predict_what_is_named() -> None:
    """The row that predicts the first answer token is that of the prompt's last key, here an image's."""
    trace = two_images()
    words = words_of(trace)
    assert [word.text for word in words] == ["A", "traffic", "light"]
    assert [numbers(rows) for rows in rows_named(trace, "word", words)] == [[5], [6, 7], [8]]
    for name, rows in (
        ("answer", [5, 6, 7, 8]),
        ("image", [1, 2, 4]),
        ("question", [3]),
        ("all", list(range(9))),
    ):
        assert [numbers(found) for found in rows_named(trace, name, words)] == [rows]  # type: ignore[arg-type]
    assert [numbers(found) for found in rows_named(trace, [0, 8], words)] == [[0, 8]]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, [(1,), (3,), (5,)]),
        (2, [(1,), (1, 3), (3, 5)]),
        (3, [(1, 3), (1, 3, 5), (3, 5)]),
        (4, [(1, 3), (1, 3, 5), (1, 3, 5)]),
        (9, [(1, 3, 5)] * 3),
    ],
)
def test_windows_stand_around_each_layer_with_attention(width: int, expected: list[tuple[int, ...]]) -> None:
    assert layer_windows(width, 7, [1, 3, 5]) == expected


def test_windows_are_called_by_their_first_and_last_layer_or_by_all() -> None:
    found = window_coordinates([(1,), (1, 3), (1, 5), (3, 5)], [1, 3, 5])
    assert found["window"].tolist() == ["1", "1-3", "1,5", "3-5"]
    assert found["first_layer"][1].tolist() == [1, 1, 1, 3]
    assert found["last_layer"][1].tolist() == [1, 3, 5, 5]


def test_each_layer_counts_its_own_rows_from_the_prompt_on() -> None:
    positions = ForwardPositions(9)
    assert [positions.of(0, 9), positions.of(1, 2)] == [range(9), range(7, 9)]  # a layer may get the last rows alone
    assert [positions.of(0, 1), positions.of(1, 3), positions.of(0, 2)] == [range(9, 10), range(9, 12), range(10, 12)]
    positions.begin()
    assert positions.of(0, 9) == range(9)
