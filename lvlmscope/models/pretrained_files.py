"""A processor from its files, and what reading any file of a model has in common: hub options, errors, remote code."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, first_line, message, task
from lvlmscope.models.image_only_processor import read_image_half
from lvlmscope.models.torchvision_check import require_working_torchvision

__all__ = ["hub_options", "load_processor", "next_step", "require_place"]

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
    with task(f"load the processor of {str(source)[:200]}"):
        require_place(source, "a folder or hub id with processor files", "pass processor=")
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


def require_place(source: Any, expected: str, fix: str) -> None:
    """Refuse what can only be a folder and is none, before the hub is asked for it again and again.

    Args:
        source: Folder or hub id.
        expected: What can be given, for the message.
        fix: What to do.

    Raises:
        UnsupportedModelError: No folder of that name.
    """
    text = str(source)
    as_path = isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1
    if as_path and not Path(text).is_dir():
        got = "no folder of that name here" + ("" if "/" in text else ", and a hub id has an owner before a '/'")
        raise UnsupportedModelError(message(got, expected, fix))


def _whole_or_image_half(source: Any, hub: dict[str, Any]) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(source, **hub)
    except (OSError, ValueError, ImportError) as error:  # which of them depends on the family and on the files
        of_video = "video processor" in str(error) or _absent_packages(error)
        half = read_image_half(source, **hub) if of_video else None
        if half is None:
            raise
        return half


def next_step(error: Exception, otherwise: str = "check the name") -> str:
    """What to do about an error of ``from_pretrained``.

    Args:
        otherwise: What to do when it names no package and no code of the repository's own.

    Returns:
        A sentence without its full stop.
    """
    if "trust_remote_code" in str(error):
        return "pass trust_remote_code=True to lv.load if you trust its author and have read the code"
    absent = _absent_packages(error)
    if absent:
        return f"pip install {' '.join(absent)}"
    return "install the package that it names" if isinstance(error, ImportError) else otherwise


def _absent_packages(error: Exception) -> list[str]:
    """Packages that an error names and that are not installed."""
    text = str(error).lower()
    return [name for name in _PACKAGES if name in text and find_spec(name) is None]


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
