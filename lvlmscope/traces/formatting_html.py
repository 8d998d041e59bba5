"""A trace's summary for Jupyter: image, shaded caption, a small layer x head map."""

import html
import math
from typing import TYPE_CHECKING, Final

import numpy as np

from lvlmscope.palette import SEQUENTIAL_STOPS, UNDEFINED
from lvlmscope.traces.formatting import facts, shortened
from lvlmscope.traces.image_identity import data_uri
from lvlmscope.traces.word_values import defined_mean

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["html_summary"]

_LONGEST_SIDE: Final = 220  # pixels of the image's longer side
_FACT: Final = 300  # characters of a fact
_TOKENS: Final = 300  # of the answer, each a few dozen bytes of HTML
_CELL: Final = 14  # pixels of a head in the small map, fewer where there are many


def html_summary(trace: "Trace") -> str:
    """The summary, at most some 100 KB, with every text escaped.

    Args:
        trace: What to sum up.

    Returns:
        HTML that needs nothing else and runs nothing.
    """
    mass = trace.rows().image_mass.double().numpy() if bool(trace.image_keys.any()) else None
    parts = [
        f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">{_image(trace)}{_map(mass)}</div>',
        f'<p style="max-width:46em;overflow-wrap:anywhere">{_words(trace, mass)}</p>',
        "<p><code>lvlmscope.diagnose(trace)</code> shows which words are at risk.</p>",
        _facts_table(trace),
    ]
    return f'<div style="font-size:13px;line-height:1.6">{"".join(parts)}</div>'


def _image(trace: "Trace") -> str:
    if trace.image is None:
        return "<span>no image in the trace</span>"
    return f'<img alt="the image that was traced" src="{data_uri(trace.image, longest=_LONGEST_SIDE)}">'


def _words(trace: "Trace", mass: np.ndarray | None) -> str:
    if not trace.num_steps:
        return "<em>the answer is empty</em>"
    steps = np.full(trace.num_steps, np.nan) if mass is None else defined_mean(mass.reshape(trace.num_steps, -1), 1)
    shown = [
        f'<span title="{_title(value)}, ln p {log_prob:.2f}" style="background:rgba(31,119,180,{_shade(value):.2f})">'
        f"{html.escape(token)}</span>"
        for token, value, log_prob in zip(
            trace.answer_tokens[:_TOKENS], steps.tolist(), trace.log_probs.tolist(), strict=False
        )
    ]
    rest = trace.num_steps - len(shown)
    return "".join(shown) + (f" <em>… and {rest} more tokens</em>" if rest > 0 else "")


def _title(value: float) -> str:
    return f"image attention {value:.3f}" if math.isfinite(value) else "image attention not defined"


def _shade(value: float) -> float:
    return min(max(value, 0.0), 1.0) * 0.8 if math.isfinite(value) else 0.0


def _map(mass: np.ndarray | None) -> str:
    """Mean attention on the image of each layer and head, as an image of the map."""
    if mass is None or 0 in mass.shape:
        return "<span>no attention on an image to show</span>"
    from PIL import Image

    values = defined_mean(mass, 0)
    finite = np.isfinite(values)
    most = float(values[finite].max()) if finite.any() else 0.0
    share = np.where(finite, values, 0.0) / (most or 1.0)
    stops = np.array([_rgb(colour) for colour in SEQUENTIAL_STOPS], dtype=np.float64)
    at = np.linspace(0.0, 1.0, len(stops))
    colours = np.stack([np.interp(share, at, stops[:, part]) for part in range(3)], -1).round().astype(np.uint8)
    colours[~finite] = _rgb(UNDEFINED)
    size = max(1, min(_CELL, 240 // max(values.shape)))
    enlarged = colours[::-1].repeat(size, 0).repeat(size, 1)  # layer 0 at the bottom
    source = data_uri(Image.fromarray(np.ascontiguousarray(enlarged)))
    best = np.unravel_index(int(share.argmax()), share.shape)
    undefined = f"; grey: not defined ({int((~finite).sum())} heads)" if not finite.all() else ""
    caption = (
        f"{values.shape[0]} layers (0 at the bottom) × {values.shape[1]} heads: attention on the image, "
        f"0 to {most:.3f} share of 1{undefined}"
    )
    return (
        f'<div style="max-width:260px"><img alt="{caption}; most in row {best[0]}, head {best[1]}" src="{source}">'
        f"<br><small>{caption}</small></div>"
    )


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))


def _facts_table(trace: "Trace") -> str:
    rows = "".join(
        f'<tr><th style="text-align:left">{name}</th>'
        f'<td style="text-align:left">{html.escape(shortened(text, _FACT))}</td></tr>'
        for name, text in facts(trace)
        if name != "answer"
    )
    return f"<table>{rows}</table><small>answer tokens shaded by their share of attention on the image</small>"
