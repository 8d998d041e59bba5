"""A processor from its files, and what reading any file of a model has in common: hub options, errors, remote code."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, first_line, message, task
from lvlmscope.models.image_half import read_image_half

__all__ = ["hub_options", "load_processor", "next_step", "require_working_torchvision"]

_PACKAGES = ("torchvision", "timm", "num2words", "sentencepiece")


def load_processor(source: Any, hub: dict[str, Any]) -> Any:
    """A processor, or its image half where a package that only videos need is not installed.

    Args:
        source: Folder or hub id.
        hub: What ``hub_options`` gives.

    Returns:
        The processor.

    Raises:
        UnsupportedModelError: None there, one that takes no images, or one that needs a package.
    """
    require_working_torchvision()
    with task(f"load the processor of {source}"):
        try:
            processor = _whole_or_image_half(source, hub)
        except (OSError, ValueError, ImportError) as error:
            expected, fix = "a folder or hub id with processor files", next_step(error, "pass processor=")
            raise UnsupportedModelError(message(first_line(error), expected, fix)) from error
        if not hasattr(processor, "image_processor"):
            got = f"{type(processor).__name__}, which takes no images"
            fix = "pass processor=, or prepared inputs to lv.trace_inputs"
            raise UnsupportedModelError(message(got, "a processor", fix))
    return processor


def _whole_or_image_half(source: Any, hub: dict[str, Any]) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(source, **hub)
    except ImportError:
        half = read_image_half(source, **hub)
        if half is None:
            raise
        return half


def next_step(error: Exception, otherwise: str = "check the name") -> str:
    """What to do about an error of ``from_pretrained``.

    Args:
        error: The error.
        otherwise: What to do when it names no package and no code of the repository's own.

    Returns:
        A sentence without its full stop.
    """
    text = str(error)
    if "trust_remote_code" in text:
        return "pass trust_remote_code=True to lv.load if you trust its author and have read the code"
    if isinstance(error, ImportError):
        absent = [name for name in _PACKAGES if name in text.lower() and find_spec(name) is None]
        return f"pip install {' '.join(absent)}" if absent else "install the package that it names"
    return otherwise


def require_working_torchvision() -> None:
    """Refuse a torchvision that cannot be imported: transformers takes any that is installed for a working one.

    Raises:
        UnsupportedModelError: It is installed, and importing it fails.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        got = f"a torchvision that cannot be imported ({first_line(error)})"
        expected = f"no torchvision, or the one that was built for torch {torch.__version__}"
        fix = "pip uninstall torchvision, or install the version that fits"
        raise UnsupportedModelError(message(got, expected, fix, task="load a model")) from error


def hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options with which every file is read, taken out of the others; remote code only where it is allowed.

    Args:
        options: Options of ``from_pretrained``; those that are returned are taken out of it.

    Returns:
        ``trust_remote_code``, False unless it is given: without it transformers asks on standard input; and
        ``revision``, ``token`` and ``cache_dir`` where they are given.

    Raises:
        UnsupportedOptionError: A ``trust_remote_code`` that is not True or False.
    """
    trusted = options.pop("trust_remote_code", None) or False
    if not isinstance(trusted, bool):
        got = f"trust_remote_code={trusted!r}"[:200]
        raise UnsupportedOptionError(message(got, "True or False", "choose one of them", task="load a model"))
    shared = {name: options.pop(name) for name in ("revision", "token", "cache_dir") if name in options}
    return {"trust_remote_code": trusted} | {name: value for name, value in shared.items() if value is not None}
