"""``effect``: did an intervention do anything, and what."""

from dataclasses import dataclass
from typing import Any, Final

import torch

from lvlmscope.errors import task
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.trace_difference import require_one_question

__all__ = ["Effect", "effect", "side_names"]

_COMMON: Final = frozenset(
    {"name", "forwards", "rows", "edited_heads", "scaled_heads", "shifted_layers", "edited_mlps"}
    | {"edited_prompt_heads", "mixed_rows", "changed", "saw_image"}
)

_HARDLY: Final = 0.001  # nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What changed between two traces of one prompt.

    Attributes:
        same_answer: Whether both answers have the same tokens.
        first_step: First step whose tokens differ, None when one answer begins with the other or both are equal.
        before_word: Text of the token there before, its number where it has none (such as the end of the answer);
            empty when `first_step` is None.
        after_word: Text of the token there after.
        shared_steps: Steps before the answers part: over these the rows answer the same question.
        image_mass_before: Mean image mass over the shared steps, layers and heads, in [0, 1]; the step at which the
            answers part is still shared, as both predict it from the same text. NaN without an image.
        image_mass_after: The same after.
        moved_mass: Mean over the shared steps, layers and heads of the attention that lies elsewhere than before, half
            of `sum_j |a'_j - a_j|`, in [0, 1]; NaN when the traces keep other keys or layers.
        divergence: For each shared step at least so much `KL(before || after)` of the next-token distributions, nats: a
            trace keeps the most probable tokens only, so the KL is taken over those that both kept and all others
            together, and merging outcomes can only lower a KL (data processing inequality).
        edits: One report per intervention: forwards, rows, edited heads and layers, and what its session tells.
    """

    same_answer: bool
    first_step: int | None
    before_word: str
    after_word: str
    shared_steps: int
    image_mass_before: float
    image_mass_after: float
    moved_mass: float
    divergence: tuple[float, ...]
    edits: tuple[dict[str, Any], ...]

    @property
    def changed(self) -> bool:
        """Whether any intervention edited anything."""
        return any(report.get("changed", False) for report in self.edits)

    @property
    def edited_rows(self) -> int:
        """Predicting rows that went through an intervention, over all interventions."""
        return sum(int(report.get("rows", 0)) for report in self.edits)

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """Layers in which any intervention changed attention, head outputs or the residual stream."""
        layers: set[int] = set()
        for report in self.edits:
            for key in ("edited_heads_per_layer", "scaled_heads_per_layer"):
                layers |= {int(layer) for layer in report.get(key, {})}
            layers |= {*report.get("shifted_layers", ()), *report.get("edited_mlps", ())}
        return tuple(sorted(layers))

    def __str__(self) -> str:
        """A few lines for a terminal."""
        lines = [line for report in self.edits for line in _edit_lines(report)] or ["no intervention was on"]
        if self.first_step is not None:
            lines.append(f"first word changed: {self.before_word.strip()!r} -> {self.after_word.strip()!r}")
        else:
            lines.append("no word changed" if self.same_answer else "one answer begins with the other")
        shift = f"{self.image_mass_before:.3f} -> {self.image_mass_after:.3f}"
        lines.append(f"mean image attention over {self.shared_steps} shared steps: {shift}")
        if self.divergence:
            most = max(range(len(self.divergence)), key=lambda step: self.divergence[step])
            mean = sum(self.divergence) / len(self.divergence)
            described = f"at least {mean:.3f} nats on average, {self.divergence[most]:.3f} at step {most}"
            if self.divergence[most] < _HARDLY:
                described = f"less than {_HARDLY} nats at every step, as far as the kept tokens tell"
            lines.append(f"next-token distributions moved by {described}; {self.moved_mass:.1%} of the attention moved")
        return "\n".join(lines)


@task("compare traces")
def effect(before: Trace, after: Trace) -> Effect:
    """Compares a trace with one of the same prompt made with interventions on.

    Args:
        before: Without the interventions.
        after: With them.

    Returns:
        First differing word, image mass over the shared steps, and each intervention's own report.

    Raises:
        ModelInputError: One is no trace, or they are of different prompts or images.
    """
    before, after = (require_trace(each) for each in (before, after))
    require_one_question(before, after)
    pairs = list(zip(before.answer_ids.tolist(), after.answer_ids.tolist(), strict=False))
    first = next((step for step, (old, new) in enumerate(pairs) if old != new), None)
    shared = len(pairs) if first is None else first + 1
    return Effect(
        same_answer=before.answer_ids.tolist() == after.answer_ids.tolist(),
        first_step=first,
        before_word="" if first is None else _text_at(before, first),
        after_word="" if first is None else _text_at(after, first),
        shared_steps=shared,
        image_mass_before=_mean_mass(before, shared),
        image_mass_after=_mean_mass(after, shared),
        moved_mass=_moved_mass(before, after, shared),
        divergence=tuple(_divergence(before, after, step) for step in range(shared)),
        edits=_with_reasons(after),
    )


def side_names(before: Trace, after: Trace) -> tuple[str, str]:
    """What to call two traces beside each other: by their intervention where one of them alone had one on.

    Args:
        after: Another.

    Returns:
        Two names.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> side_names(planted_trace(), planted_trace())
    ('first', 'second')
    """
    names = {True: "with the intervention", False: "without the intervention"}
    on = bool(before.effects), bool(after.effects)
    return ("first", "second") if on[0] == on[1] else (names[on[0]], names[on[1]])


def _text_at(trace: Trace, step: int) -> str:
    return trace.answer_tokens[step] if trace.answer_tokens[step].strip() else f"<token {int(trace.answer_ids[step])}>"


def _mean_mass(trace: Trace, steps: int) -> float:
    mass: torch.Tensor = trace.rows().image_mass[:steps]
    return float(mass.mean()) if bool(trace.image_keys.any()) else float("nan")


def _moved_mass(before: Trace, after: Trace, steps: int) -> float:
    if before.layer_indices != after.layer_indices or before.kept_keys != after.kept_keys:
        return float("nan")
    keys = before.num_prompt_keys + steps - 1  # longer answers have more keys; a shared step sees none of those
    old, new = (trace.attention[:steps, ..., :keys].float() for trace in (before, after))
    return float((old - new).abs().sum(-1).mean() / 2)


def _divergence(before: Trace, after: Trace, step: int) -> float:
    """KL over the tokens that both traces kept and the rest as one outcome; what the answer chose is kept too."""
    old, new = (_known(trace, step) for trace in (before, after))
    shared = sorted(old.keys() & new.keys())
    p, q = (torch.tensor([known[token] for token in shared], dtype=torch.float64).exp() for known in (old, new))
    p, q = (torch.cat([part, (1 - part.sum()).clamp_min(1e-12).view(1)]) for part in (p, q))
    return max(0.0, float((p * (p / q).log()).sum()))


def _known(trace: Trace, step: int) -> dict[int, float]:
    """Log-probabilities that a trace keeps of one step, by token; after the mixing of logits where that was on."""
    prefix = "" if trace.mixed_log_probs is None else "mixed_"
    ids, tops, chosen = (getattr(trace, f"{prefix}{name}")[step] for name in ("top_ids", "top_log_probs", "log_probs"))
    return dict(zip(ids.tolist(), tops.tolist(), strict=True)) | {int(trace.answer_ids[step]): float(chosen)}


def _with_reasons(trace: Trace) -> tuple[dict[str, Any], ...]:
    """Each intervention's report; of one that changed nothing and gives no reason, the strengths that are 0."""
    settings = [each.get("parameters", {}) for each in trace.provenance.get("interventions", ())]
    found = []
    for number, report in enumerate(trace.effects):
        silent = not report.get("changed", True) and "no_effect_reason" not in report
        if silent and report.get("saw_image", True) and report.get("forwards"):
            own = settings[number] if number < len(settings) else {}
            zeros = [name for name, value in own.items() if value == 0 and not isinstance(value, bool)]
            named = ", ".join(f"{name}=0" for name in zeros if name != "seed")
            reason = f"as set ({named})" if named else "it gives no reason, as where its settings change nothing"
            found.append(report | {"no_effect_reason": reason})
        else:
            found.append(report)
    return tuple(found)


def _edit_lines(report: dict[str, Any]) -> list[str]:
    """What an intervention edited, then what its session reports, without counts per layer."""
    name, forwards = report.get("name", "intervention"), report.get("forwards", 0)
    if not report.get("changed", False):
        reason = report.get("no_effect_reason") or (
            "the prompt holds no image" if report.get("saw_image") is False else ""
        )
        return [f"{name}: changed nothing over {forwards} forwards{': ' if reason else ''}{reason}"]
    parts = [
        f"edited {report[key]} (row, head) pairs in {len(report[f'{key}_per_layer'])} layers"
        if key == "edited_heads"
        else f"scaled {report[key]} head outputs"
        for key in ("edited_heads", "scaled_heads")
        if report.get(key)
    ]
    if report.get("mixed_rows"):
        parts.append(f"mixed the logits of {report['mixed_rows']} tokens")
    if report.get("shifted_layers"):
        parts.append(f"shifted the stream after {len(report['shifted_layers'])} layers")
    if report.get("edited_mlps"):
        parts.append(f"edited the MLPs of {len(report['edited_mlps'])} layers")
    if report.get("edited_prompt_heads"):
        parts.append(f"edited {report['edited_prompt_heads']} heads in rows of the prompt")
    parts = parts or ["chose other tokens"]
    own = {k: v for k, v in report.items() if isinstance(v, float | int) and k not in _COMMON}
    gates = report.get("gate_means_per_layer") or {}
    own |= {f"mean {gate} gate": sum(means.values()) / len(means) for gate, means in gates.items() if means}
    described = ", ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in own.items())
    return [f"{name}: {', '.join(parts)} over {forwards} forwards", *([f"  {described}"] if described else [])]
