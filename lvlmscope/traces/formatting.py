"""A trace's summary for a terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["facts", "plain_summary", "shortened"]


def facts(trace: "Trace") -> list[tuple[str, str]]:
    """What a trace is, as names and texts; nothing that is empty.

    Args:
        trace: What to sum up.

    Returns:
        Prompt, answer, sizes, images, model, replay agreement and interventions.
    """
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
        ("interventions", ", ".join(str(e.get("name", "?")) for e in trace.provenance.get("interventions", []))),
    ]
    return [(name, text) for name, text in facts if text]


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with an ellipsis for what was cut.

    Examples:
        >>> shortened("umbrella", 8), shortened("umbrellas", 8)
        ('umbrella', 'umbrell…')
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def plain_summary(trace: "Trace") -> str:
    """A few lines of text.

    Args:
        trace: What to sum up.

    Returns:
        Lines joined by newlines, the first one "Trace".
    """
    found = facts(trace)
    wide = max(len(name) for name, _ in found) + 1
    return "\n".join(["Trace", *(f"  {name:<{wide}}{' '.join(text.split())}" for name, text in found)])
