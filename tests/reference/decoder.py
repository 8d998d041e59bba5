"""A LLaMA decoder in float64, written out: all positions at once, predicting rows edited one by one.

`edit(layer, row, weights, scores)` gets one predicting row's attention and pre-softmax scores [head, key] and gives the
attention back edited. Each row keeps its own state, so a twin of an intervention is an object made anew for every row.
`shift(layer, row, stream)` gets one predicting row's stream [hidden] before the first layer (-1) and after every layer,
and gives it back edited.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

Edit = Callable[[int, int, torch.Tensor, torch.Tensor], torch.Tensor]
Gain = Callable[[int, torch.Tensor], list[float]]
Shift = Callable[[int, int, torch.Tensor], torch.Tensor]


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def rotate(x: torch.Tensor, base: float) -> torch.Tensor:
    """[head, position, dim]"""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[1]).double(), base ** (-torch.arange(half).double() / half))
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin


def shifted(x: torch.Tensor, layer: int, first_row: int, shift: Shift | None) -> torch.Tensor:
    rows = [shift(layer, row, x[row]) if shift and row >= first_row else x[row] for row in range(x.shape[0])]
    return torch.stack(rows)


def logits(
    model: Any,
    embeds: torch.Tensor,
    first_row: int,
    edit: Edit,
    shift: Shift | None = None,
    gain: Gain | None = None,
    *,
    gain_before: bool = False,
) -> torch.Tensor:
    """Logits [row, vocabulary] of the rows from `first_row` on; `embeds` is [position, hidden].

    `gain(layer, weights)` gives a factor for each head's output of a predicting row; with `gain_before` the rows before
    the first predicting one get that one's.
    """
    language = model.model.language_model
    config = language.config
    heads, group = config.num_attention_heads, config.num_attention_heads // config.num_key_value_heads
    base = config.rope_parameters["rope_theta"]
    x = shifted(embeds.double(), -1, first_row, shift)
    total = x.shape[0]
    for number, layer in enumerate(language.layers):
        w = {name: p.detach().double() for name, p in layer.named_parameters()}
        h = norm(x, w["input_layernorm.weight"], config.rms_norm_eps)

        def split(name: str, h: torch.Tensor = h, w: dict[str, torch.Tensor] = w) -> torch.Tensor:
            return (h @ w[f"self_attn.{name}.weight"].T).view(total, -1, config.head_dim).transpose(0, 1)

        q, k = rotate(split("q_proj"), base), rotate(split("k_proj"), base)
        v = split("v_proj")
        out = torch.zeros(total, heads, config.head_dim, dtype=torch.float64)
        for row in range(total):
            weights, raw = (torch.zeros(heads, row + 1, dtype=torch.float64) for _ in range(2))
            for head in range(heads):
                scores = k[head // group, : row + 1] @ q[head, row] / math.sqrt(config.head_dim)
                raw[head] = scores
                weights[head] = torch.exp(scores - scores.max()) / torch.exp(scores - scores.max()).sum()
            if row >= first_row:
                weights = edit(number, row, weights, raw)
            for head in range(heads):
                out[row, head] = weights[head] @ v[head // group, : row + 1]
            if gain is not None and row >= first_row:
                factors = torch.tensor(gain(number, weights), dtype=torch.float64)[:, None]
                out[row] *= factors
                if row == first_row and gain_before:
                    out[:row] *= factors
        x = x + out.reshape(total, -1) @ w["self_attn.o_proj.weight"].T
        h = norm(x, w["post_attention_layernorm.weight"], config.rms_norm_eps)
        gate = h @ w["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + torch.exp(-gate)) * (h @ w["mlp.up_proj.weight"].T)) @ w["mlp.down_proj.weight"].T
        x = shifted(x, number, first_row, shift)
    final = norm(x, language.norm.weight.detach().double(), config.rms_norm_eps)
    return final[first_row:] @ model.lm_head.weight.detach().double().T


def embeddings(model: Any, ids: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings [position, hidden] of one sample, image features in their places."""
    with torch.no_grad():
        features = torch.cat(tuple(model.model.get_image_features(pixels).pooler_output))
        embeds = model.get_input_embeddings()(ids).clone()
    embeds[ids == model.config.image_token_id] = features
    return embeds


def unedited(_: int, __: int, weights: torch.Tensor, ___: torch.Tensor) -> torch.Tensor:
    return weights


def answer_log_probs(
    model: Any, inputs: dict[str, Any], answer: torch.Tensor, edit: Edit = unedited, shift: Shift | None = None
) -> torch.Tensor:
    """Log-probability [step] of each answer token of one sample without padding."""
    ids = torch.cat([inputs["input_ids"][0], answer[:-1]])
    first = inputs["input_ids"].shape[1] - 1
    embeds = embeddings(model, ids, inputs["pixel_values"])
    found = torch.log_softmax(logits(model, embeds, first, edit, shift), -1)
    return found.gather(-1, answer.unsqueeze(-1)).squeeze(-1)
