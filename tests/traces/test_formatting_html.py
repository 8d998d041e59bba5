"""The summary for Jupyter: which layer, head and word a colour belongs to."""

import base64
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lvlmscope.palette import SEQUENTIAL_STOPS, UNDEFINED
from lvlmscope.traces.formatting import facts
from lvlmscope.traces.formatting_html import html_summary
from lvlmscope.traces.trace import Trace
from tests.support.varied_traces import varied_trace


def looking(mass: torch.Tensor) -> Trace:
    """A trace whose heads have this image mass ``[step, layer, head]``, the rest on the first key."""
    steps, layers, heads = mass.shape
    trace = varied_trace(steps=steps, layers=layers, heads=heads, image=False)
    weights = torch.zeros_like(trace.attention)
    count = int(trace.image_keys.sum())
    weights[..., trace.image_keys] = (mass / count).unsqueeze(-1).expand(*mass.shape, count)
    weights[..., 0] = 1 - mass
    return replace(trace, attention=weights)


def rgb(colour: str) -> list[int]:
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def shown_map(page: str) -> tuple[np.ndarray, str]:
    """The colour of each layer and head, layer 0 first, and what the image is called."""
    alt, data = re.findall(r'<img alt="([^"]*layers[^"]*)" src="data:image/png;base64,([^"]+)"', page)[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    found = re.match(r"(\d+) layers .* (\d+) heads", alt)
    assert found is not None
    layers, heads = int(found[1]), int(found[2])
    size = pixels.shape[0] // layers
    assert pixels.shape == (layers * size, heads * size, 3)
    return pixels[size // 2 :: size, size // 2 :: size][::-1], alt


def test_the_map_has_layer_0_at_the_bottom_and_head_0_on_the_left() -> None:
    mass = torch.zeros(2, 3, 5)
    mass[:, 0, 3] = 0.8
    mass[:, 2, 0] = 0.4
    colours, alt = shown_map(html_summary(looking(mass)))
    least, most = rgb(SEQUENTIAL_STOPS[0]), rgb(SEQUENTIAL_STOPS[-1])
    assert colours[0, 3].tolist() == most
    assert colours[2, 0].tolist() not in (least, most)
    others = np.ones((3, 5), dtype=bool)
    others[0, 3] = others[2, 0] = False
    assert (colours[others] == least).all()
    assert "0 to 0.800 share of 1" in alt
    assert alt.endswith("most in row 0, head 3")


def test_heads_that_are_not_defined_are_grey_and_counted_and_no_others() -> None:
    mass = torch.full((2, 2, 3), 0.25)
    mass[:, 1, 2] = math.nan  # at every step
    mass[0, 0, 0] = math.nan  # at one of two
    colours, alt = shown_map(html_summary(looking(mass)))
    grey = (colours == rgb(UNDEFINED)).all(-1)
    assert np.argwhere(grey).tolist() == [[1, 2]]
    assert "grey: not defined (1 heads)" in alt


def test_each_word_is_shaded_by_its_own_attention() -> None:
    mass = torch.tensor([0.1, 0.5, 0.0]).view(3, 1, 1).expand(3, 2, 2).clone()
    mass[2] = math.nan
    trace = looking(mass)
    found = re.findall(
        r'<span title="([^"]+)" style="background:rgba\(31,119,180,([0-9.]+)\)">([^<]+)<', html_summary(trace)
    )
    assert [word for *_, word in found] == list(trace.answer_tokens)
    assert [float(shade) for _, shade, _ in found] == pytest.approx([0.08, 0.40, 0.0])
    log_probs = trace.log_probs.tolist()
    assert [title for title, *_ in found] == [
        f"image attention 0.100, ln p {log_probs[0]:.2f}",
        f"image attention 0.500, ln p {log_probs[1]:.2f}",
        f"image attention not defined, ln p {log_probs[2]:.2f}",
    ]


def test_what_a_trace_holds_beside_attention_is_said() -> None:
    assert "also" not in dict(facts(replace(varied_trace(), gradient=None, hidden_states=None)))
    plain = varied_trace(gradients=True)
    whole = replace(plain, hidden_states=torch.zeros(plain.num_steps, plain.num_layers + 1, 4))
    assert dict(facts(whole))["also"] == "gradient, hidden_states"
    assert dict(facts(replace(whole, hidden_states=None)))["also"] == "gradient"
