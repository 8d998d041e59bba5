"""Which key positions and which query rows a cut is between, by name, by box or by number."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Bool

from lvlmscope.attention.option_checks import whole_number
from lvlmscope.errors import ModelInputError, message
from lvlmscope.traces.token_layout import Box
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

__all__ = ["Keys", "Rows", "described", "keys_named", "rows_named"]

Keys = Literal["image", "question", "system", "answer", "all"] | Box | Sequence[int] | np.ndarray | torch.Tensor
Rows = Literal["answer", "word", "question", "image", "all"] | Sequence[int] | np.ndarray | torch.Tensor

_KINDS: Final = ("image", "question", "system", "answer", "all")
_ROWS: Final = ("answer", "word", "question", "image", "all")
_CORNERS: Final = 4
_LISTED: Final = 200


def keys_named(trace: Trace, keys: Keys, image_index: int, *, name: str = "from_") -> Bool[torch.Tensor, "position"]:
    """The key positions that are meant.

    Args:
        trace: Its layout says what is where.
        keys: A kind of token, a box in pixels as a tuple of four numbers, or positions in a list or an array.
        image_index: The image of the box.
        name: What the option is called, for messages.

    Returns:
        bool `[position]`.

    Raises:
        ModelInputError: None of these, a position or an image that is not there, or no position at all.
        GeometryError: A box where the geometry is not known.
    """
    if isinstance(keys, str):
        if keys not in _KINDS:
            raise _refused(name, keys, f"{', '.join(map(repr, _KINDS))}, a box, or a list of positions")
        found = torch.ones(len(trace.tokens), dtype=torch.bool) if keys == "all" else trace.layout.keys_of(keys)
    elif isinstance(keys, tuple) and len(keys) == _CORNERS:
        if not 0 <= image_index < len(trace.layout.images):
            got, expected = f"image {image_index}", f"0 to {len(trace.layout.images) - 1}"
            raise ModelInputError(message(got, expected, "choose another"))
        edges: tuple[Any, ...] = keys
        if not all(isinstance(edge, Real) and not isinstance(edge, bool) for edge in edges):
            raise _refused(name, keys, "four numbers: left, top, right, bottom", "a box of something else")
        left, top, right, bottom = (float(edge) for edge in edges)
        found = trace.layout.keys_in(image_index, (left, top, right, bottom))
    else:
        found = _at(name, keys, len(trace.tokens))
    if not bool(found.any()):
        raise _refused(name, keys, "at least one key", "which holds no token")
    return found


def rows_named(trace: Trace, rows: Rows, words: Sequence[Word]) -> list[Bool[torch.Tensor, "position"]]:
    """The query rows that are meant: one set for all words, or with `"word"` one for each.

    Args:
        trace: Its layout says what is where.
        rows: `"answer"`, the rows that predict the answer; `"word"`, those that predict the tokens of each word;
            `"question"` and `"image"`, rows of the prompt before the first predicting one; `"all"`; or positions.
        words: The words.

    Returns:
        bool `[position]` each.

    Raises:
        ModelInputError: None of these, a position that is not there, or no row at all.
    """
    first, positions = trace.num_prompt_keys - 1, torch.arange(len(trace.tokens))
    if isinstance(rows, str):
        if rows not in _ROWS:
            raise _refused("to", rows, f"{', '.join(map(repr, _ROWS))}, or a list of positions")
        if rows == "word":
            return [torch.isin(positions, torch.tensor(word.steps) + first) for word in words]
        kinds = {"question": trace.layout.keys_of("question"), "image": trace.image_keys}
        named = {kind: found & (positions < first) for kind, found in kinds.items()}
        found = (named | {"answer": positions >= first, "all": positions >= 0})[rows]
    else:
        found = _at("to", rows, len(trace.tokens))
    if not bool(found.any()):
        raise _refused("to", rows, "at least one row", "which holds no row")
    return [found]


def described(named: Any) -> str:
    """What was named, for a result's attributes.

    Returns:
        A name as it is, a box or positions as numbers.
    """
    if isinstance(named, str):
        return named
    numbers = np.asarray(named).tolist()
    box = isinstance(named, tuple) and len(named) == _CORNERS
    text = f"box {tuple(numbers)}" if box else f"positions {numbers}"
    return text if len(text) <= _LISTED else text[:_LISTED] + "..."


def _at(name: str, given: Any, count: int) -> Bool[torch.Tensor, "position"]:
    values = np.asarray(given).ravel().tolist() if np.ndim(given) == 1 else [None]
    numbers = [whole_number(value) for value in values]
    if not all(number is not None and 0 <= number < count for number in numbers):
        raise _refused(name, given, f"whole numbers from 0 to {count - 1}")
    found = torch.zeros(count, dtype=torch.bool)
    found[[number for number in numbers if number is not None]] = True
    return found


def _refused(name: str, given: Any, expected: str, why: str = "") -> ModelInputError:
    got = f"{name}={given!r}"[:_LISTED]
    return ModelInputError(message(f"{got}, {why}" if why else got, expected, f"change {name}"))
