"""Writes ``lvlmscope/models/verified_models.json``: what was measured of a tiny model of each type.

Run ``python -m tests.support.verify_models`` from the repository, or with names of tiny models to measure only these.
"""

import fcntl
import inspect
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

import lvlmscope as lv
from lvlmscope.errors import LvlmscopeError, UnsupportedModelError
from lvlmscope.models.families.refused_model_types import NO_IMAGE_TOKENS, NOT_TOKEN_BY_TOKEN
from lvlmscope.models.supported_types import VERIFIED_FILE
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.verification.self_check import check
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES, FamilyCase
from tests.support.tiny_latest import LATEST
from tests.support.tiny_more import MORE
from tests.support.tiny_others import OTHERS
from tests.support.tiny_rest import REST
from tests.support.tiny_streams import STREAMS
from tests.support.tiny_variants import VARIANTS

CASES = FAMILIES | OTHERS | VARIANTS | MORE | REST | LATEST | STREAMS
OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
NOTES = {
    "llava": "LLaVA-1.5, Pixtral as LLaVA",
    "qwen2_5_vl": "images and video",
    "instructblip": "with a decoder-only language model",
    "blip-2": "with a decoder-only language model",
    "mllama": "interventions are refused",
    "fast_vlm": "measured with a ResNet in the place of timm's tower",
    "perception_lm": "measured with CLIP in the place of timm's tower",
}


def measured(name: str) -> dict[str, Any]:
    """Rows against eager attention, padded batch, gradients, geometry and an empty and a planted edit of one model.

    Numbers are largest absolute differences; "refused" holds the error where lvlmscope refuses.
    """
    case = CASES[name](2)
    model, found = case.model, {"tiny_model": name, "class": type(case.model).__name__}
    try:
        checks = check(model, inputs=case.samples[0])
    except UnsupportedModelError as error:
        return found | {"refused": str(error)}
    found["checks"] = {each.name: [each.passed, each.value, each.note] for each in checks.findings}
    alone = [lv.trace_inputs(model, one, gradients=True, progress=False, **OPTIONS)[0] for one in case.samples]
    found |= {"replay": alone[0].provenance["replay"]["path"], "passed": checks.passed}
    found["placed"] = all(image.reason == "" for image in alone[0].layout.images)
    found["gradient"] = float(max(one.gradient.abs().max() for one in alone))
    try:
        batch = lv.trace_inputs(model, case.inputs, gradients=True, progress=False, **OPTIONS)
        pairs = list(zip(batch, alone, strict=True))
        found["batch"] = {
            field: float(max((getattr(a, field) - getattr(b, field)).abs().max() for a, b in pairs))
            for field in ("attention", "gradient")
        }
    except LvlmscopeError as error:
        found["batch"] = str(error)
        found["padding_moves_logits"] = _moved_by_padding(case)
    try:
        inputs = case.inputs if isinstance(found["batch"], dict) else case.samples[0]
        plain = _logits(model, inputs)
        with lv.intervene(model, lv.DLEAF(gamma=0.0)):
            same = all(torch.equal(a, b) for a, b in zip(plain, _logits(model, inputs), strict=True))
        found["empty_intervention_changes_nothing"] = same
    except LvlmscopeError as error:
        found["interventions"] = str(error)
    return found


def _logits(model: Any, inputs: dict[str, Any]) -> Any:
    return model.generate(**inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True).logits


def _moved_by_padding(case: FamilyCase) -> float:
    """How far transformers' own logits of the first token of a padded batch are from each sample's alone."""
    together = _logits(case.model, case.inputs)[0]
    alone = [_logits(case.model, sample)[0][0] for sample in case.samples]
    return max(float((one - other).abs().max()) for one, other in zip(together, alone, strict=True))


def batch_agrees(found: dict[str, Any]) -> bool:
    """Whether a padded batch gave each sample's own rows and gradients, or was refused."""
    batch = found.get("batch")
    if not isinstance(batch, dict):
        return True
    return batch["attention"] < 1e-4 and batch["gradient"] < 1e-3 * max(1.0, found["gradient"])


def entry(name: str) -> tuple[str, dict[str, Any]]:
    """Model type, and its entry in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measured(name)
    model_type = CASES[name](1).model.config.model_type
    good = found.get("passed") and found.get("empty_intervention_changes_nothing", True) and batch_agrees(found)
    status = "unsupported" if "refused" in found else "verified" if good else "failed"
    notes = [NOTES[model_type]] if model_type in NOTES else []
    paths = {"full": "replayed from the start", "steps": "replayed step by step"}
    notes += [paths[found["replay"]]] if found.get("replay") in paths else []
    notes += ["padded batches are refused: one image at a time"] if isinstance(found.get("batch"), str) else []
    notes += [] if batch_agrees(found) else ["a padded batch gives other rows"]
    note = found["refused"] if status == "unsupported" else "; ".join(notes)
    return model_type, {"status": status, "note": note, "measured": found}


def refusal(model_type: str) -> str:
    """Why a type without a tiny model cannot be traced, from its configuration and files; empty if nothing says so."""
    if model_type in NOT_TOKEN_BY_TOKEN:
        return NOT_TOKEN_BY_TOKEN[model_type]
    if model_type in NO_IMAGE_TOKENS:
        return NO_IMAGE_TOKENS[model_type]
    homes = [model_type, *(name for name, other in sorted(NAMES.items()) if other == NAMES[model_type])]
    configs = [CONFIG_MAPPING[name] for name in homes if name in CONFIG_MAPPING]
    encoded = "an encoder-decoder: its prompt lies outside the decoder's sequence"
    if any(getattr(config, "is_encoder_decoder", False) for config in configs) or "encoder-decoder" in model_type:
        return encoded
    packages = [Path(inspect.getfile(config)).parent for config in configs]
    files = next((found for package in packages if (found := sorted(package.glob("modeling_*.py")))), [])
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    if not text:
        return "its modeling file is not installed"
    if "is_encoder_decoder=True" in text and "AutoModel" not in text:
        return encoded
    if "ALL_ATTENTION_FUNCTIONS" not in text and "AutoModel" not in text:
        return "its attention is not on the attention registry"
    missing = [name for name in ("timm", "torchvision") if f"import {name}" in text and find_spec(name) is None]
    return f"needs {', '.join(missing)}, which is not installed" if missing else ""


def main(names: list[str]) -> None:
    """Measure and write after each model; the entries of models that are not named stay."""
    for name in names or CASES:
        try:
            model_type, made = entry(name)
        except Exception as error:  # noqa: BLE001 - a model that cannot be built is told, and the others go on
            print(f"{name}: {type(error).__name__}: {error}"[:400])  # noqa: T201
            continue
        print(name, model_type, made["status"], made["note"][:200], flush=True)  # noqa: T201
        write({model_type: made})
    write({})


def write(new: dict[str, dict[str, Any]]) -> None:
    """Add entries to the file, and reasons for types that cannot be built, also when several processes write.

    A verified type stays so where another tiny model of it is refused.
    """
    with _locked(VERIFIED_FILE.parent):
        held = json.loads(VERIFIED_FILE.read_text(encoding="utf-8")) if VERIFIED_FILE.exists() else {"models": {}}
        models = held["models"]
        for model_type, made in new.items():
            if model_type in NAMES and not _stays(models.get(model_type), made):
                models[model_type] = made
        for model_type in NAMES:
            if model_type not in models and (reason := refusal(model_type)):
                models[model_type] = {"status": "unsupported", "note": reason, "measured": {}}
        held = {"transformers": version("transformers"), "models": dict(sorted(models.items()))}
        with whole_file(VERIFIED_FILE) as path:
            path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def _stays(held: dict[str, Any] | None, made: dict[str, Any]) -> bool:
    """Whether a verified entry is kept: the new one is of another tiny model that is refused or fails."""
    if held is None or held["status"] != "verified" or made["status"] == "verified":
        return False
    other: bool = held["measured"]["tiny_model"] != made["measured"]["tiny_model"]
    return other


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock is on the folder, so that no lock file is left in it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(sys.argv[1:])
