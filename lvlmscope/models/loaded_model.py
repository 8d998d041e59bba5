"""One object with model, processor and family rules, from a name, a folder, or parts already loaded."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, message
from lvlmscope.models.families import Family, family_of

__all__ = ["LoadedModel", "family_for", "find_processor", "read_model", "unwrap"]

_SOURCES = "'tiny', a hub id, a folder, or (model, processor)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model with what is needed to ask it about an image.

    Attributes:
        model: The Hugging Face model, in eval mode.
        processor: Its processor.
        name: What it was loaded from.
        family: Its family's rules.
    """

    model: Any
    processor: Any
    name: str
    family: Family

    def __repr__(self) -> str:
        """One line: name, class, family."""
        return f"LoadedModel({self.name!r}, {type(self.model).__name__}, family {self.family.name!r})"


def unwrap(model: Any) -> torch.nn.Module:
    """The bare model in what ``load`` gave; a bare model as it is.

    Args:
        model: What ``load`` gave, or a bare model.

    Returns:
        The bare model.

    Raises:
        UnsupportedModelError: Something else was given.
    """
    bare = model.model if isinstance(model, LoadedModel) else model
    if not isinstance(bare, torch.nn.Module):
        received, possible = type(model).__name__, "what lv.load gives, or a Hugging Face model"
        raise UnsupportedModelError(message("use a model", received, possible, "pass lv.load('tiny') to start with"))
    return bare


def read_model(
    source: Any, *, processor: Any = None, device_map: Any = None, dtype: Any = "auto", **options: Any
) -> tuple[LoadedModel, str | None]:
    """A vision-language model with its processor, unchecked.

    Args:
        source: As for ``load``.
        processor: As for ``load``.
        device_map: As for ``load``.
        dtype: As for ``load``.
        **options: As for ``load``.

    Returns:
        The loaded model, in eval mode, and the folder or hub id it was read from; None for a given model.

    Raises:
        UnsupportedModelError: Nothing of that name, a text-only model, or no processor.
        UnsupportedOptionError: A dtype that torch does not have.
    """
    path = None
    if isinstance(source, tuple) and len(source) == 2:
        model, found = source
        name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    else:
        path, name = _resolve(source), str(source)
        dtype = torch.float32 if name == "tiny" and dtype == "auto" else _known_dtype(dtype)
        model = _load_model(path, device_map=device_map, dtype=dtype, **options)
        found = processor if processor is not None and not isinstance(processor, str) else None
        if found is None:
            found = _load_processor(processor or path, options.get("revision"))
    family = family_of(model)
    family.require_vision(model)
    return LoadedModel(model=model.eval(), processor=found, name=name, family=family), path


def find_processor(model: Any, processor: Any = None) -> Any:
    """The processor to use with a model: the one given, the loaded one, else found from ``name_or_path``.

    Args:
        model: What ``load`` gave, or a bare model.
        processor: A processor, or None.

    Returns:
        The processor.

    Raises:
        UnsupportedModelError: None can be found.
    """
    if processor is not None:
        return _load_processor(processor, None) if isinstance(processor, str) else processor
    if isinstance(model, LoadedModel):
        return model.processor
    name = getattr(model, "name_or_path", "")
    if not name:
        received, possible = f"a bare {type(model).__name__} without a name", "a processor"
        todo = "pass processor=, or prepared inputs to lv.trace_inputs"
        raise UnsupportedModelError(message("find the model's processor", received, possible, todo))
    return _load_processor(name, None)


def _resolve(source: Any) -> str:
    if isinstance(source, str | Path) and str(source) != "tiny":
        _require_place(source)
        return str(source)
    if source != "tiny":
        received, possible = f"{type(source).__name__} {source!r}"[:80], _SOURCES
        raise UnsupportedModelError(message("load a model", received, possible, "pass one of these"))
    folder = Path(str(files("lvlmscope"))) / "tiny" / "model"
    if not (folder / "config.json").is_file():
        received, todo = f"no weights in {folder}", "install lvlmscope from its wheel"
        raise UnsupportedModelError(message("load the bundled model", received, "a complete installation", todo))
    return str(folder)


def _known_dtype(dtype: Any) -> Any:
    """The option as it is; a name that torch does not know is refused before any file is read."""
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        possible = "'auto', a torch dtype, or its name: float32, float16, bfloat16"
        raise UnsupportedOptionError(message("load a model", f"dtype={dtype!r}", possible, "choose one of them"))
    return dtype


def _require_place(source: str | Path) -> None:
    """Refuse what can only be a folder and is none, before the hub is asked for it again and again."""
    text = str(source)
    as_path = isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1
    if as_path and not Path(source).is_dir():
        received = "no folder of that name here" + ("" if "/" in text else ", and a hub id has an owner before a '/'")
        raise UnsupportedModelError(message(f"load the model {text}", received, _SOURCES, "check the name"))


def _load_model(path: str, **options: Any) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText

    asked = f"load the model {path}"
    options = {name: value for name, value in options.items() if value is not None}
    shared = {name: options[name] for name in ("revision", "trust_remote_code", "token") if name in options}
    try:
        config = AutoConfig.from_pretrained(path, **shared)
        remote = options.get("trust_remote_code") and getattr(config, "auto_map", None)
        if not remote and type(config) not in AutoModelForImageTextToText._model_mapping:  # noqa: SLF001 - no public list
            received, possible = f"{config.model_type}, a text-only or unknown model", "image-text-to-text models"
            todo = "choose a vision-language model, for example 'tiny'"
            raise UnsupportedModelError(message(asked, received, possible, todo))
        return AutoModelForImageTextToText.from_pretrained(path, **options)
    except (OSError, ValueError) as error:
        received = str(error).split("\n", 1)[0]
        raise UnsupportedModelError(message(asked, received, _SOURCES, "check the name")) from error


def _load_processor(source: Any, revision: str | None) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(source, **({"revision": revision} if revision else {}))
    except (OSError, ValueError, ImportError) as error:
        received, possible = str(error).split("\n", 1)[0], "a folder or hub id with processor files"
        todo = "pass processor="
        raise UnsupportedModelError(message(f"load the processor of {source}", received, possible, todo)) from error
    if not hasattr(processor, "image_processor"):
        received = f"{type(processor).__name__}, which takes no images"
        todo = "pass processor=, or prepared inputs to lv.trace_inputs"
        raise UnsupportedModelError(message(f"load the processor of {source}", received, "a processor", todo))
    return processor


def family_for(model: Any) -> Family:
    """The rules for what ``load`` gave, or for a bare model.

    Args:
        model: Either.

    Returns:
        The family.
    """
    return model.family if isinstance(model, LoadedModel) else family_of(unwrap(model))
