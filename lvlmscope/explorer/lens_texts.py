"""What the residual stream spells at words and at image tokens, with the texts of the tokens."""

from typing import Any

import numpy as np

from lvlmscope.errors import LvlmscopeError, first_line
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.inputs.detokenization import alternative_pieces
from lvlmscope.lenses import logit_lens, patch_lens
from lvlmscope.models.loaded_model import find_processor
from lvlmscope.traces.trace import Trace

__all__ = ["lens_of"]


def lens_of(trace: Trace, model: Any) -> dict[str, Any]:
    """The logit lens of answer tokens and of image tokens, as JSON values; a reason where one cannot be read.

    Args:
        trace: What to read.
        model: The model that made it.

    Returns:
        `layers`, `steps` (for each step `top`, `rank` and `p` by layer) and `commits`, or `steps_missing`; `patches`
        (`layers`, and `top` and `p` by layer and image token), or `patches_missing`; `texts`, which `top` counts in.
    """
    ids: dict[int, int] = {}
    found = _words(trace, model, ids) | _patches(trace, model, ids)
    pieces = alternative_pieces([[token] for token in ids], [int(trace.answer_ids[0])] * len(ids), _processor(model))
    return found | {"texts": [text for (text,) in pieces]}


def _processor(model: Any) -> Any:
    try:
        return find_processor(model)
    except LvlmscopeError:  # then tokens are shown by their numbers
        return None


def _words(trace: Trace, model: Any, ids: dict[int, int]) -> dict[str, Any]:
    if trace.hidden_states is None:
        return {"layers": [], "steps": None, "steps_missing": "the trace was made without hidden_states=True"}
    try:
        lens = logit_lens(trace, model)
    except LvlmscopeError as error:
        return {"layers": [], "steps": None, "steps_missing": first_line(error)}
    top, rank, p = lens["top_id"].values, lens["rank"].values, np.exp(lens["log_prob"].values)
    steps = [
        {"top": _numbered(tops, ids), "rank": [plain_number(float(r)) for r in ranks], "p": _plain(chances)}
        for tops, ranks, chances in zip(top, rank, p, strict=True)
    ]
    commits = [plain_number(float(layer)) for layer in lens["commit_layer"].values]
    return {"layers": lens["layer"].values.tolist(), "steps": steps, "commits": commits}


def _patches(trace: Trace, model: Any, ids: dict[int, int]) -> dict[str, Any]:
    try:
        lens = patch_lens(trace, model)
    except LvlmscopeError as error:
        return {"patches": None, "patches_missing": first_line(error)}
    rows = zip(lens["top_id"].values, np.exp(lens["log_prob"].values), strict=True)
    found = [(_numbered(tops, ids), _plain(chances)) for tops, chances in rows]
    layers = lens["layer"].values.tolist()
    return {"patches": {"layers": layers, "top": [top for top, _ in found], "p": [p for _, p in found]}}


def _numbered(tokens: np.ndarray, ids: dict[int, int]) -> list[int]:
    """Tokens by their place among all texts."""
    return [ids.setdefault(token, len(ids)) for token in tokens.tolist()]


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if number is None else float(f"{number:.3g}") for number in map(plain_number, values.tolist())]
