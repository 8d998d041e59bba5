"""Whether a sample that is padded on the left has the logits that it has alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.nn import functional

from lvlmscope.capture.agreement import Agreement, compare_logits, decoder_dtype
from lvlmscope.capture.batch_fallback import attempted
from lvlmscope.capture.generation import generate_answer
from lvlmscope.capture.stepwise_replay import steps_reason
from lvlmscope.errors import first_line
from lvlmscope.models.families import Family
from lvlmscope.models.padded_batches import note_padding

__all__ = ["PaddingEffect", "measure_padding"]

_COLUMNS: Final = 5  # no divisor of the sizes that blocks of keys have
# Inputs with one column for each token of the prompt, beside those whose names end in "token_type_ids"
_PER_TOKEN: Final = ("input_ids", "attention_mask", "cross_attention_mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddingEffect:
    """What padding does to a sample.

    Attributes:
        agreement: How far the padded sample's logits are from its own, None where that was not measured.
        reason: Why padded batches are refused; empty where they are not.
        note: Why nothing was measured.
    """

    agreement: Agreement | None = None
    reason: str = ""
    note: str = ""


def measure_padding(
    model: torch.nn.Module, family: Family, inputs: dict[str, Any], options: dict[str, Any]
) -> PaddingEffect:
    """Compare a sample with itself padded on the left, and keep for the model what was found.

    Only the steps are compared at which both have written the same tokens. Where experts are picked in half precision
    a near tie may fall one way or the other with any change of shape, so that nothing can be told from the logits.

    Args:
        model: The bare model.
        family: Its family's rules.
        inputs: One sample's inputs, without padding.
        options: Keyword arguments of ``generate``, greedy.

    Returns:
        The effect; where logits differ, padded batches of this model are refused from now on.
    """
    note_padding(model, "")
    if reason := family.padding_reason(model):
        return PaddingEffect(reason=reason)
    if why := steps_reason(model, family, gradients=False):
        return PaddingEffect(note=why)
    alone = generate_answer(model, family, inputs, options, progress=False)
    padded = attempted(generate_answer, model, family, _padded(model, inputs), options, progress=False)
    if isinstance(padded, Exception):
        return PaddingEffect(note=f"a padded sample fails: {first_line(padded)}"[:200])
    own, other = (each.ids[0, each.prompt_length :].tolist() for each in (alone, padded))
    same = next((n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), len(own) - 1) + 1
    part = replace(alone, logits=alone.logits[:, :same], steps=(same,))
    agreement = compare_logits(part, padded.logits, decoder_dtype(model, family))
    if agreement.holds:
        return PaddingEffect(agreement=agreement)
    reason = f"whose logits lvlmscope.check found to differ by {agreement.difference:.2g} when a sample is padded"
    note_padding(model, reason)
    return PaddingEffect(agreement=agreement, reason=reason)


def _padded(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The sample with columns before it that its mask hides."""
    ids = inputs["input_ids"]
    pad = getattr(getattr(model, "generation_config", None), "pad_token_id", None)
    found = dict(inputs) | {"attention_mask": inputs.get("attention_mask", torch.ones_like(ids))}
    for name, value in found.items():
        if name in _PER_TOKEN or name.endswith("token_type_ids"):
            fill = (int(ids[0, 0]) if pad is None else pad) if name == "input_ids" else 0
            found[name] = functional.pad(value, (0, 0) * (value.dim() - 2) + (_COLUMNS, 0), value=fill)
    return found
