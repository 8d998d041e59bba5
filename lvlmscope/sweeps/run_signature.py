"""What a sweep's rows depend on: two runs of one signature may fill one folder."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from PIL.Image import Image

from lvlmscope import __version__
from lvlmscope.evaluation.datasets.items import Dataset
from lvlmscope.evaluation.run_settings import describe_model
from lvlmscope.evaluation.sweep_tables import FORMAT
from lvlmscope.models.loaded_model import LoadedModel, unwrap
from lvlmscope.sweeps.settings import SweepSettings
from lvlmscope.traces.image_identity import describe_images
from lvlmscope.traces.validated_json import json_digest

__all__ = ["changed", "model_fingerprint", "signature_of"]

_SAMPLED: Final = 64  # values of each weight


def signature_of(
    model: LoadedModel, dataset: Dataset, settings: SweepSettings, signals: Mapping[str, bool]
) -> dict[str, Any]:
    """Model, data, signals, interventions, options and schema, as JSON values.

    Images count by their sizes in bytes where they are files, else by their pixels or bytes; those that a function
    gives by how the data set says that they are disturbed.

    The device and the batch size are no part of it: they change values by rounding alone, and every row says its batch.

    Args:
        settings: What is done.
        signals: By name, whether it has layers.
    """
    described = {name: text for name, text in describe_model(model).items() if name != "device"}
    processor, bare = model.processor, unwrap(model)
    asked: Any = bare.generation_config
    prepared = {"class": type(processor).__name__, "template": getattr(processor, "chat_template", None)}
    if (images := getattr(processor, "image_processor", None)) is not None:
        prepared["images"] = images.to_dict()
    known = None if dataset.vocabulary is None else dataset.vocabulary.fingerprint
    return {
        "schema": FORMAT,
        "lvlmscope": __version__,
        "model": described | {"weights": model_fingerprint(model)},
        "processor": json_digest(prepared),
        "generation_config": json_digest(asked.to_diff_dict()),
        "data": dataset.fingerprint,
        "images": _images(dataset),
        "words": json_digest([known, dict(dataset.relations), dataset.safe_words]),
        "signals": dict(signals),
        "interventions": [each.describe() for each in settings.interventions],
        "options": {
            "tokens": settings.tokens,
            "prompt": settings.prompt,
            "part_size": settings.part_size,
            "seed": settings.seed,
            "generation": {name: str(value) for name, value in sorted(settings.generation.items())},
        },
    }


def _images(dataset: Dataset) -> str:
    each = {item.image_id: item.image for item in dataset.items}
    marks = {name: _mark(image) for name, image in each.items()}
    return json_digest({"marks": marks, "disturbed": dataset.source.get("disturbed")})


def _mark(image: Any) -> str:
    if isinstance(image, str | os.PathLike):
        file = Path(image)
        return f"{file.stat().st_size} bytes" if file.is_file() else str(image)
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if isinstance(image, Image):
        return str(describe_images((image,), ("",)))
    return ""


def model_fingerprint(model: Any) -> str:
    """SHA-256 of the config and of 64 values of each weight, spread over it: another training gives another one.

    Weights that lie on no device, waiting to be fetched, count by name and shape alone.

    Args:
        model: What `load` gave, or a bare model.
    """
    bare: Any = unwrap(model)
    config = {name: value for name, value in bare.config.to_dict().items() if name != "_name_or_path"}
    found = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(bare.named_parameters()):
        found.update(f"{name} {tuple(weight.shape)}".encode())
        if not weight.is_meta and weight.numel():
            places = torch.linspace(0, weight.numel() - 1, min(_SAMPLED, weight.numel())).long()
            values = weight.detach().reshape(-1)[places.to(weight.device)]
            found.update(values.double().cpu().numpy().tobytes())
    return found.hexdigest()


def changed(known: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The names of what differs between two signatures, options by their own names.

    Args:
        known: The folder's.
        given: This run's.

    >>> changed({"schema": 1, "options": {"seed": 0}}, {"schema": 1, "options": {"seed": 1}})
    ['seed']
    """
    found: list[str] = []
    for name in dict.fromkeys([*known, *given]):
        one, other = known.get(name), given.get(name)
        if one == other:
            continue
        parts = isinstance(one, Mapping) and isinstance(other, Mapping) and name == "options"
        found += changed(one or {}, other or {}) if parts else [name]
    return found
