"""What an evaluation was made with: versions and the model."""

import platform
from importlib.metadata import version
from typing import Any, Final

from lvlmscope.models.loaded_model import LoadedModel, unwrap

__all__ = ["describe_model", "versions"]

_PACKAGES: Final = ("lvlmscope", "torch", "transformers", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    return {package: version(package) for package in _PACKAGES} | {"python": platform.python_version()}


def describe_model(model: Any) -> dict[str, str]:
    """Name, class, dtype and device of a model (JSON values).

    Args:
        model: What `load` gave, or a bare model.
    """
    bare: Any = unwrap(model)
    name = model.name if isinstance(model, LoadedModel) else str(getattr(bare, "name_or_path", ""))
    return {
        "name": name or type(bare).__name__,
        "class": type(bare).__name__,
        "dtype": str(bare.dtype).removeprefix("torch."),
        "device": str(bare.device),
    }
