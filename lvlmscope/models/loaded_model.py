"""One object with model, processor and family rules, from a name, a folder, or parts already loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationMixin, PreTrainedModel

from lvlmscope import tiny
from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError, first_line, message, task
from lvlmscope.interface.progress import transformers_bars
from lvlmscope.models.families import Family, family_of
from lvlmscope.models.pretrained_files import hub_options, load_processor, next_step, require_place
from lvlmscope.models.torchvision_check import require_working_torchvision
from lvlmscope.registry import close_match

__all__ = ["LoadedModel", "family_for", "find_processor", "read_model", "unwrap", "with_processor"]

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
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
    """The bare model in what ``load`` gave, in a PEFT model or a compiled one; a bare model as it is.

    Args:
        model: What ``load`` gave, or a model.

    Returns:
        The model of transformers, whose ``generate`` and forward the others call.

    Raises:
        UnsupportedModelError: Something else was given: another wrapper, or a PEFT method that adds virtual tokens.
    """
    bare = model.model if isinstance(model, LoadedModel) else model
    if not isinstance(bare, torch.nn.Module):
        got, expected = type(model).__name__, "what lv.load gives, or a Hugging Face model"
        raise UnsupportedModelError(message(got, expected, "pass lv.load('tiny') to start with", task="use a model"))
    while (inner := _wrapped(bare)) is not None:
        bare = inner
    return bare


def _wrapped(model: Any) -> torch.nn.Module | None:
    """The model in a wrapper that calls it unchanged, None for a model that is not wrapped."""
    if isinstance(model, torch._dynamo.OptimizedModule):  # noqa: SLF001 - the class has no public name
        compiled: torch.nn.Module = model._orig_mod  # noqa: SLF001
        return compiled
    if isinstance(model, PreTrainedModel):
        return None
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        methods = model.peft_config.values()
        if added := [str(each.peft_type) for each in methods if getattr(each, "is_prompt_learning", False)]:
            got, fix = f"a PEFT model with {', '.join(added)}, which adds virtual tokens", "trace the base model"
            raise UnsupportedModelError(message(got, "PEFT methods that change modules", fix, task="use a model"))
        base: torch.nn.Module = model.get_base_model()
        return base
    inside = [name for name, module in model.named_modules() if isinstance(module, GenerationMixin) and name]
    if inside:
        got, expected = f"{type(model).__name__} around a model", "a model, or a PEFT or compiled one"
        raise UnsupportedModelError(message(got, expected, f"pass model.{inside[0]}", task="use a model"))
    return None


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
        UnsupportedOptionError: A dtype that torch does not have, or an option that nothing takes.
    """
    path = None
    if isinstance(source, tuple) and len(source) == 2:
        model, found = source
        if isinstance(found, torch.nn.Module) and not isinstance(model, torch.nn.Module):
            got = f"({type(model).__name__}, {type(found).__name__})"
            raise UnsupportedModelError(message(got, "(model, processor)", "swap the two", task="load a model"))
        name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    else:
        path, name = _resolve(source), str(source)
        dtype = torch.float32 if name == "tiny" and dtype == "auto" else _known_dtype(dtype)
        hub = hub_options(options)
        _require_devices(device_map)
        require_working_torchvision()
        with transformers_bars():
            model = _load_model(path, hub=hub, device_map=device_map, dtype=dtype, **options)
        found = processor if processor is not None and not isinstance(processor, str) else None
        if found is None:  # a revision is one of the model's own repository
            other = {name: value for name, value in hub.items() if name != "revision"}
            found = load_processor(processor, other) if processor else load_processor(path, hub)
    family = family_of(unwrap(model))
    family.require_vision(unwrap(model))
    return LoadedModel(model=model.eval(), processor=found, name=name, family=family), path


def _require_devices(device_map: Any) -> None:
    """Refuse devices that torch does not see here, before any file is read."""
    named = device_map.values() if isinstance(device_map, Mapping) else (device_map,)
    for each in named:
        if isinstance(each, str | torch.device) and str(each).split(":")[0] in {"cuda", "mps", "xpu"}:
            kind = str(each).split(":")[0]
            if not torch.get_device_module(kind).is_available():
                got = f"device_map={str(each)!r}, and torch sees no {kind} device"
                fix = "leave device_map out for the CPU"
                raise UnsupportedOptionError(message(got, "a device of this machine", fix, task="load a model"))


def with_processor(model: Any, processor: Any, family: Family | None = None) -> Any:
    """A model beside the processor that a call uses, so that what is switched on knows its tokenizer.

    Args:
        model: What ``load`` gave, or a bare model.
        processor: The processor, None where there is none.
        family: Rules of the model's family, found by itself when None.

    Returns:
        What ``load`` would give, around the same wrappers; the model as it is without a processor.
    """
    if processor is None or (isinstance(model, LoadedModel) and model.processor is processor):
        return model
    own = model.model if isinstance(model, LoadedModel) else model
    name = model.name if isinstance(model, LoadedModel) else str(getattr(unwrap(own), "name_or_path", ""))
    return LoadedModel(model=own, processor=processor, name=name, family=family_for(model, family))


def find_processor(model: Any, processor: Any = None) -> Any:
    """The processor to use with a model: the one given, the loaded one, else found from ``name_or_path``.

    Args:
        model: What ``load`` gave, or a bare model.
        processor: A processor, or None.

    Returns:
        The processor.

    Raises:
        UnsupportedModelError: None can be found, or what was given is none.
    """
    if isinstance(processor, str):
        return load_processor(processor, hub_options({}))
    if processor is not None:
        if not callable(processor):
            got, expected = f"processor={processor!r}"[:80], "a processor, or the name of one"
            fix = "pass transformers.AutoProcessor.from_pretrained(...)"
            raise UnsupportedModelError(message(got, expected, fix, task="find the model's processor"))
        return processor
    if isinstance(model, LoadedModel):
        return model.processor
    name = getattr(model, "name_or_path", "")
    if not name:
        got, expected = f"a bare {type(model).__name__} without a name", "a processor"
        fix = "pass processor=, or prepared inputs to lv.trace_inputs"
        raise UnsupportedModelError(message(got, expected, fix, task="find the model's processor"))
    return load_processor(name, hub_options({}))


def _resolve(source: Any) -> str:
    if isinstance(source, str | Path) and str(source) != "tiny":
        with task(f"load the model {str(source)[:200]}"):
            require_place(source, _SOURCES, "check the name")
        return str(source)
    if source != "tiny":
        got, expected = f"{type(source).__name__} {source!r}"[:80], _SOURCES
        raise UnsupportedModelError(message(got, expected, "pass one of these", task="load a model"))
    return str(tiny.path("model"))


def _known_dtype(dtype: Any) -> Any:
    """The option as it is; a name that torch does not know is refused before any file is read."""
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        expected = "'auto', a torch dtype, or its name: float32, float16, bfloat16"
        raise UnsupportedOptionError(message(f"dtype={dtype!r}", expected, "choose one of them", task="load a model"))
    return dtype


def _load_model(path: str, *, hub: dict[str, Any], **options: Any) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText

    options = {name: value for name, value in options.items() if value is not None}
    with task(f"load the model {path}"):
        try:
            config = AutoConfig.from_pretrained(path, **hub)
            remote = hub["trust_remote_code"] and getattr(config, "auto_map", None)
            if not remote and type(config) not in AutoModelForImageTextToText._model_mapping:  # noqa: SLF001 - no public list
                got, expected = f"{config.model_type}, a text-only or unknown model", "image-text-to-text models"
                fix = "choose a vision-language model, for example 'tiny'"
                raise UnsupportedModelError(message(got, expected, fix))
            return AutoModelForImageTextToText.from_pretrained(path, **hub, **options)
        except TypeError as error:  # an option that neither transformers nor the model's class knows
            if (unknown := _UNEXPECTED.search(str(error))) is None:
                raise
            close = close_match(unknown[1], ("processor", "check", "device_map", "dtype", *hub))
            fix = f"did you mean {close!r}" if close else f"leave {unknown[1]} out"
            expected = "a parameter of lv.load, or an option of from_pretrained"
            raise UnsupportedOptionError(message(f"{unknown[1]}=", expected, fix)) from error
        except (OSError, ValueError, ImportError) as error:
            raise UnsupportedModelError(message(first_line(error), _SOURCES, next_step(error))) from error


def family_for(model: Any, family: Family | None = None) -> Family:
    """The rules for what ``load`` gave, or for a bare model.

    Args:
        model: Either.
        family: The rules to use instead, None to find them.

    Returns:
        The family.

    Raises:
        UnsupportedModelError: Something else than a family was given.
    """
    if family is None:
        return model.family if isinstance(model, LoadedModel) else family_of(unwrap(model))
    if isinstance(family, type) or not isinstance(family, Family):
        got, expected = f"family={family!r}"[:80], "an object such as lvlmscope.models.families.LlavaFamily()"
        raise UnsupportedModelError(message(got, expected, "leave family out to find it", task="use a family's rules"))
    return family
