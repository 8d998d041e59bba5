"""Where a trace comes from: versions, model, settings, interventions, and how well the replay agreed."""

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from lvlmscope.capture.replay import Replay
from lvlmscope.runtime.protocol import Intervention

__all__ = ["describe_origin"]


def describe_origin(
    model: Any,
    *,
    name: str,
    settings: dict[str, Any],
    interventions: Sequence[Intervention],
    replay: Replay,
    window: int | None = None,
) -> dict[str, Any]:
    """All of it as JSON values.

    Args:
        name: What it was loaded from.
        settings: Generation settings and seed; objects among them are told by their class.
        interventions: Interventions that were on, in order.
        replay: How the replay went.
        window: Steps that were replayed at a time, None for all.

    Returns:
        A dict with versions, model, generation, interventions, replay.
    """
    return {
        "versions": {package: _version(package) for package in ("lvlmscope", "torch", "transformers")}
        | {"python": platform.python_version()},
        "model": {
            "name": name,
            "class": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "kernel": "+".join(replay.kernels),
            "threads": torch.get_num_threads(),
        },
        "generation": _as_json(settings),
        "interventions": [i.describe() for i in interventions],
        "replay": {
            "path": replay.path,
            "reason": replay.reason,
            "layerwise": replay.layerwise,
            "difference": replay.agreement.difference,
            "tolerance": replay.agreement.tolerance,
        }
        | ({} if window is None else {"window": window}),
    }


def _as_json(value: Any) -> Any:
    """A setting as JSON holds it; of an object, such as a logits processor, the name of its class."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_json(each) for each in value]
    return type(value).__name__


@cache  # reading it takes ten milliseconds
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
