"""Which of the installed transformers' vision-language models can be traced, and how well that is known."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

from lvlmscope.models.families.refused_model_types import NO_IMAGE_TOKENS

__all__ = ["VERIFIED_FILE", "ModelSupport", "list_models"]

# Written by tests/support/verify_models.py: what was measured of a tiny model of each type
VERIFIED_FILE: Final = Path(__file__).with_name("verified_models.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSupport:
    """One model type of the installed transformers.

    Attributes:
        model_type: As in its config.
        model_class: Name of the class.
        status: "verified": rows, batches, gradients and edits of a tiny model were measured; "generic": served by the
            rules for all, and checked numerically when it is loaded; "unsupported".
        note: What is special, or the reason.
    """

    model_type: str
    model_class: str
    status: Literal["verified", "generic", "unsupported"]
    note: str


def list_models() -> tuple[ModelSupport, ...]:
    """The image-text-to-text models of the installed transformers, in alphabetical order.

    What is verified was measured with one version of transformers; the notes say so where another is installed.

    Returns:
        One entry per model type.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

    held = json.loads(VERIFIED_FILE.read_text(encoding="utf-8"))
    other = "" if version("transformers") == held["transformers"] else f"with transformers {held['transformers']}"
    return tuple(_support(name, kind, held["models"].get(name), other) for name, kind in sorted(NAMES.items()))


def _reason(note: str, model_class: str) -> str:
    """The reason alone, where a note is the message of the error that refuses the model.

    >>> _reason("trace a model: got Florence2Model, an encoder-decoder; expected: others; load one.", "Florence2Model")
    'an encoder-decoder'
    >>> _reason("replayed from the start", "Florence2Model")
    'replayed from the start'
    """
    _, got, rest = note.partition(": got ")
    reason = rest.partition("; expected: ")[0].removeprefix(f"{model_class}, ") if got else note
    return reason.removeprefix("which ")


def _support(model_type: str, model_class: str, entry: dict[str, Any] | None, other: str) -> ModelSupport:
    status: Literal["verified", "generic", "unsupported"] = "generic"
    note = "checked numerically when it is loaded"
    if model_type in NO_IMAGE_TOKENS:
        status, note = "unsupported", NO_IMAGE_TOKENS[model_type].removeprefix("which ")
    elif entry is not None and entry["status"] in {"verified", "unsupported"}:
        status = entry["status"]
        note = "; ".join(part for part in (_reason(entry["note"], model_class), other) if part)
    elif entry is not None and entry["note"]:
        note = f"{note}; {entry['note']}"
    return ModelSupport(model_type=model_type, model_class=model_class, status=status, note=note)
