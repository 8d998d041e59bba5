"""A trace's prompt as model inputs again, for analyses that need the model."""

from typing import Any

import torch

from lvlmscope.errors import ModelInputError, UnsupportedModelError, message
from lvlmscope.inputs.preparation import check_inputs, prepare
from lvlmscope.models.families import Family
from lvlmscope.traces.trace import Trace

__all__ = ["rerun_inputs"]


def rerun_inputs(
    trace: Trace,
    model: Any,
    family: Family,
    *,
    processor: Any = None,
    inputs: Any = None,
    in_sequence: bool = True,
) -> tuple[dict[str, Any], torch.Tensor]:
    """The prompt's inputs on the model's device, and which of its positions hold image tokens.

    Args:
        trace: A trace of images and a prompt, or of the inputs given.
        family: Its family's rules.
        processor: The model's processor, where inputs are to be made from the trace's images.
        inputs: Prepared inputs of the trace, one sample, where it was made from such.
        in_sequence: Image tokens in the decoder's sequence are needed, not only cross-attention to them.

    Returns:
        Inputs, batch axis 1, and bool `[position]`, on the device where the model begins.

    Raises:
        ModelInputError: No images and no inputs, several samples, or a prompt of other tokens than the trace's.
        UnsupportedModelError: Image tokens in the sequence are needed and the model has none.
    """
    if inputs is None and (not trace.images or not bool(trace.image_keys.any())):
        got, fix = "a trace without its images", "trace an image and a prompt, not prepared inputs"
        raise ModelInputError(message(got, "a trace with images", fix))
    found = prepare(list(trace.images), trace.prompt, processor, family).inputs if inputs is None else inputs
    found = check_inputs(found)
    ids, mask = found["input_ids"], found["attention_mask"]
    if ids.shape[0] != 1 or not bool(mask.all()):
        got = f"inputs of {ids.shape[0]} samples" if ids.shape[0] > 1 else "inputs with padding"
        raise ModelInputError(message(got, "one sample without padding", "give the sample's own inputs"))
    device = _first_device(model)
    image = family.image_mask(model, ids.to(device))[0]
    crosses = bool(family.crossing_layers(model))
    if crosses and in_sequence:
        got = f"{type(model).__name__}, which looks at the image in cross-attention layers"
        accepted = "models with image tokens in the decoder's sequence"
        raise UnsupportedModelError(message(got, accepted, "use a model of another family"))
    expected = image.cpu() if crosses else trace.image_keys[: trace.num_prompt_keys]
    cut = trace.kept_keys != "all"  # then the trace has lost the positions of the other tokens
    if int(image.sum()) != int(expected.sum()) or not (cut or torch.equal(image.cpu(), expected)):
        got = f"a prompt of {len(image)} tokens, {int(image.sum())} of the image"
        accepted = f"the trace's {trace.num_prompt_keys}, {int(expected.sum())} of the image"
        raise ModelInputError(message(got, accepted, "give the model that made the trace"))
    dtype = getattr(model, "dtype", torch.float32)
    return {name: _placed(value, device, dtype) for name, value in found.items()}, image


def _first_device(model: Any) -> torch.device:
    """Where the model begins; the CPU when its first weights wait elsewhere ("meta") to be fetched."""
    device: torch.device = next(model.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def _placed(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else None)
