"""The image half of a processor, where a package that only its video half needs is not installed."""

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lvlmscope.errors import MissingExtraError, message

__all__ = ["NoVideo", "read_image_half"]

_VIDEO = "video_processor"
_VIDEO_PACKAGES = ("torchvision", "num2words")  # num2words writes the number of a video's frames in words


@dataclass(frozen=True, slots=True)
class NoVideo:
    """Stands where a processor keeps its video half.

    Attributes:
        packages: What the video half needs and is not installed.
        num_frames: None; SmolVLM's chat template asks for it, also without a video.
        fps: None; the same.
    """

    packages: str
    num_frames: None = None
    fps: None = None

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse a video.

        Raises:
            MissingExtraError: Always.
        """
        got, expected = f"a video, and no {self.packages}", "images, or a video with these packages installed"
        raise MissingExtraError(message(got, expected, f"pip install {self.packages}", task="process a video"))


class _WithoutVideo:
    """Comes before ``ProcessorMixin`` in the order of classes and leaves the video half out of its arguments."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        names: list[str] = super().get_attributes()  # type: ignore[misc]
        kept = [part for name, part in zip(names, parts, strict=False) if name != _VIDEO]
        options.pop(_VIDEO, None)
        super().__init__(*kept, **options)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The processor's parts, without the video half."""
        return [name for name in super().get_attributes() if name != _VIDEO]  # type: ignore[misc]


def read_image_half(source: Any, **hub: Any) -> Any:
    """A processor without its video half, and a warning that says so.

    Args:
        source: Folder or hub id.
        **hub: Options of ``from_pretrained``: revision, token, trust_remote_code.

    Returns:
        An instance of a subclass of the processor's class of the same name; None when the class has no video half
        that a missing package explains.
    """
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

    parts: Mapping[str, Any] = {
        "image_processor": AutoImageProcessor,
        "tokenizer": AutoTokenizer,
        "feature_extractor": AutoFeatureExtractor,
    }
    settings, name = _settings(source, hub)
    whole = _processor_class(name)
    missing = " ".join(package for package in _VIDEO_PACKAGES if find_spec(package) is None)
    if whole is None or not missing or not {"image_processor", "tokenizer"} <= set(whole.get_attributes()):
        return None
    names = whole.get_attributes()
    if set(names) - set(parts) - {_VIDEO}:
        return None
    made = [None if each == _VIDEO else parts[each].from_pretrained(source, **hub) for each in names]
    if _VIDEO not in names:
        return whole.from_args_and_dict(made, settings)
    half: Any = type(whole.__name__, (whole, _WithoutVideo, *whole.__bases__), {_VIDEO: NoVideo(missing)})
    half.__module__ = whole.__module__
    with _unneeded_packages(whole):
        processor = half.from_args_and_dict(made, settings)
    text = f"{whole.__name__} is loaded for images only: its video half needs {missing} (pip install {missing})"
    warnings.warn(text, UserWarning, stacklevel=1)
    return processor


def _settings(source: Any, hub: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The processor's own settings, and the name of its class: from its files, else from the model's type."""
    from transformers import AutoConfig, ProcessorMixin
    from transformers.image_processing_base import ImageProcessingMixin
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    settings, _ = ProcessorMixin.get_processor_dict(source, **hub)
    name = settings.get("processor_class")
    if name is None:
        images, _ = ImageProcessingMixin.get_image_processor_dict(source, **hub)
        name = images.get("processor_class")
    if name is None:
        by_type = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(source, **hub)), None)
        name = getattr(by_type, "__name__", None)
    return settings, name


def _processor_class(name: str | None) -> Any:
    """The class of that name, also when its module imports a function from the torchvision image processor."""
    import transformers

    found: Any = None if name is None else getattr(transformers, name, None)
    if not getattr(found, "is_dummy", False):
        return found
    module: str = found.__module__
    package, _, own = module.rpartition(".")
    kind = own.removeprefix("processing_")
    wanted, twin = f"{package}.image_processing_{kind}", f"{package}.image_processing_pil_{kind}"
    if find_spec(module) is None or find_spec(twin) is None:
        return None
    # The PIL twin has the same functions; it stands in for the import only
    sys.modules[wanted] = importlib.import_module(twin)
    try:
        return getattr(importlib.import_module(module), str(name), None)
    finally:
        del sys.modules[wanted]


@contextmanager
def _unneeded_packages(whole: type) -> Iterator[None]:
    """A function of a missing package that only videos need, while the processor is made: SmolVLM asks for it."""
    names = vars(sys.modules[whole.__module__])
    absent = [package for package in _VIDEO_PACKAGES if package in names and names[package] is None]
    names.update({package: NoVideo(package) for package in absent})
    try:
        yield
    finally:
        names.update(dict.fromkeys(absent))
