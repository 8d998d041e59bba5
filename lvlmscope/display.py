"""A trace's summary for a terminal and for Jupyter."""

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvlmscope.record import Trace

__all__ = ["html_summary", "plain_summary"]


def _facts(trace: "Trace") -> list[tuple[str, str]]:
    shape = trace.attention.shape
    model = trace.provenance.get("model", {})
    replay = trace.provenance.get("replay", {})
    grids = [f"{i.grid[0]} x {i.grid[1]}" if i.grid else f"{len(i.cells)} tokens" for i in trace.layout.images]
    facts = [
        ("prompt", trace.prompt),
        ("answer", trace.answer),
        ("attention", f"{shape[0]} steps x {shape[1]} layers x {shape[2]} heads x {shape[3]} keys"),
        ("images", ", ".join(grids) or "none"),
        ("also", ", ".join(n for n in ("gradient", "hidden_states") if getattr(trace, n) is not None)),
        ("model", ", ".join(str(model[k]) for k in ("name", "class", "dtype", "device", "kernel") if k in model)),
        ("replay", f"logits within {replay['difference']:.1e} of generation" if "difference" in replay else ""),
        ("remedies", ", ".join(str(e.get("name", "?")) for e in trace.provenance.get("interventions", []))),
    ]
    return [(name, text) for name, text in facts if text]


def plain_summary(trace: "Trace") -> str:
    """A few lines of text.

    Args:
        trace: What to sum up.

    Returns:
        Lines joined by newlines, the first one "Trace".
    """
    return "\n".join(["Trace"] + [f"  {name:<10}{' '.join(text.split())}" for name, text in _facts(trace)])


def html_summary(trace: "Trace") -> str:
    """A table, and the answer with each token shaded by its mean image mass over layers and heads.

    Args:
        trace: What to sum up.

    Returns:
        HTML that needs nothing else.
    """
    mass = trace.rows().image_mass.mean(dim=(1, 2))
    spans = "".join(
        f'<span title="image attention {value:.3f}, ln p {log_prob:.2f}" '
        f'style="background:rgba(31,119,180,{min(value, 1.0):.2f})">{html.escape(token)}</span>'
        for token, value, log_prob in zip(trace.answer_tokens, mass.tolist(), trace.log_probs.tolist(), strict=True)
    )
    rows = "".join(
        f'<tr><th style="text-align:left">{name}</th>'
        f'<td style="text-align:left">{spans if name == "answer" else html.escape(text)}</td></tr>'
        for name, text in _facts(trace)
    )
    return f"<table>{rows}</table><small>answer tokens shaded by their share of attention on the image</small>"
