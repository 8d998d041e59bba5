"""Trace files: one safetensors file with JSON metadata, written whole or not at all, never pickle."""

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lvlmscope.errors import ImageInputError, TraceFileError, message, task
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.images import read_images
from lvlmscope.traces.token_layout import Layout

if TYPE_CHECKING:
    import xarray as xr

    from lvlmscope.traces.trace import Trace

__all__ = ["FORMAT_VERSION", "read_attention", "read_fields", "read_header", "write_trace"]

FORMAT_VERSION = 3
_METADATA_KEY = "lvlmscope_trace"
_TENSORS = ("attention", "image_keys", "answer_ids", "log_probs", "entropy", "margin", "top_ids", "top_log_probs")
_OPTIONAL = ("gradient", "hidden_states", "image_scores")
_PNG_LIMIT = 1_000_000  # pixels; above it an image is stored as JPEG, which is some ten times smaller


def write_trace(trace: "Trace", path: str | os.PathLike[str]) -> None:
    """Write a trace under a temporary name beside its place, then rename it.

    Images of more than a million pixels are written as JPEG: read back they are close to those traced, not equal.

    Args:
        trace: What to write.
        path: File to write; an existing one is replaced.

    Raises:
        TraceFileError: The folder does not exist or cannot be written to.
    """
    target = Path(path)
    tensors = {name: getattr(trace, name) for name in _TENSORS + _OPTIONAL if getattr(trace, name) is not None}
    tensors |= {f"image.{i}": _encode(image) for i, image in enumerate(trace.images)}
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    metadata = {_METADATA_KEY: json.dumps(_describe_fields(trace))}
    try:
        with whole_file(target) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        expected = "a file in a folder that exists and can be written to"
        raise TraceFileError(
            message(str(error), expected, "choose another path", task=f"save a trace to {target}")
        ) from error


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a saved trace.

    Args:
        path: File to read.

    Returns:
        Keyword arguments of ``Trace``.

    Raises:
        TraceFileError: No such file, not a trace, cut short, or of a newer format.
    """
    source = Path(path)
    fields = read_header(source)
    try:
        with safe_open(source, framework="pt") as file:
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        expected, fix = "a complete safetensors file", "the file is cut short or damaged: save the trace again"
        raise TraceFileError(message(str(error), expected, fix, task=f"load the trace {source}")) from error
    count = fields.pop("image_count")
    with task(f"load the trace {source}"):
        fields["images"] = tuple(_decode(tensors.pop(f"image.{i}")) for i in range(count))
    fields.setdefault("kept_keys", "all")  # format 1 had no other
    return fields | tensors


def read_attention(
    path: str | os.PathLike[str], *, layer: int | None = None, step: int | None = None, gradient: bool = False
) -> "xr.DataArray":
    """Rows of one layer, one step, or both, without reading the rest of the file.

    Args:
        path: File to read.
        layer: Decoder layer number, None for all.
        step: Answer token, None for all.
        gradient: The gradient instead of the attention.

    Returns:
        DataArray [step, layer, head, key], with the axes of one entry kept.

    Raises:
        TraceFileError: As for ``Trace.load``; or a layer, a step or a gradient that the file does not hold.
    """
    import xarray as xr

    source, doing = Path(path), f"read rows of {path}"
    fields = read_header(source)
    name = "gradient" if gradient else "attention"
    layers = list(fields["layer_indices"])
    with safe_open(source, framework="pt") as file:
        if name not in file.keys():  # noqa: SIM118 - no mapping
            raise TraceFileError(message("no gradient in it", "its attention", "trace with gradients=True", task=doing))
        stored = file.get_slice(name)
        steps = stored.get_shape()[0]
        if (layer is not None and layer not in layers) or (step is not None and not 0 <= step < steps):
            got, expected = f"layer {layer}, step {step}", f"layers {layers}, steps 0 to {steps - 1}"
            raise TraceFileError(message(got, expected, "choose among them", task=doing))
        rows = slice(0, steps) if step is None else slice(step, step + 1)
        place = slice(0, len(layers)) if layer is None else slice(layers.index(layer), layers.index(layer) + 1)
        values = stored[rows, place]
    coords = {"step": range(steps)[rows], "layer": layers[place], "token": ("key", list(fields["tokens"]))}
    return xr.DataArray(values.float().numpy(), dims=("step", "layer", "head", "key"), coords=coords, name=name)


def read_header(source: Path) -> dict[str, Any]:
    """What a trace file says of itself, without its tensors.

    Args:
        source: File to read.

    Returns:
        The plain fields.

    Raises:
        TraceFileError: No such file, not a trace, cut short, or of a newer format.
    """
    if not source.is_file():
        found = "a folder" if source.is_dir() else "no such file"
        raise TraceFileError(
            message(found, "a file Trace.save wrote", "check the path", task=f"load the trace {source}")
        )
    try:
        with safe_open(source, framework="pt") as file:
            return _parse((file.metadata() or {}).get(_METADATA_KEY), source)
    except SafetensorError as error:
        got, expected = str(error), "a complete safetensors file"
        fix = "the file is cut short or damaged: save the trace again"
        if _is_of_another_kind(source):
            got, expected, fix = "no trace file", "a file Trace.save wrote", "check the path"
        raise TraceFileError(message(got, expected, fix, task=f"load the trace {source}")) from error


def _is_of_another_kind(source: Path) -> bool:
    """Whether a file begins otherwise than with safetensors' eight bytes of length and a JSON object."""
    with source.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and not start.endswith(b"{")


def _describe_fields(trace: "Trace") -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "layer_indices": trace.layer_indices,
        "layout": trace.layout.to_json(),
        "tokens": trace.tokens,
        "answer_tokens": trace.answer_tokens,
        "top_tokens": trace.top_tokens,
        "prompt": trace.prompt,
        "answer": trace.answer,
        "provenance": trace.provenance,
        "effects": trace.effects,
        "kept_keys": trace.kept_keys,
        "image_count": len(trace.images),
    }


def _parse(text: str | None, source: Path) -> dict[str, Any]:
    doing = f"load the trace {source}"
    if text is None:
        got = "a safetensors file without trace metadata"
        raise TraceFileError(message(got, "a file Trace.save wrote", "check that it is a trace", task=doing))
    fields: dict[str, Any] = json.loads(text)
    version = fields.pop("format_version")
    if version > FORMAT_VERSION:
        fix = "upgrade lvlmscope"
        raise TraceFileError(message(f"format version {version}", f"up to version {FORMAT_VERSION}", fix, task=doing))
    if version < FORMAT_VERSION:
        _rename_keys(fields)
    fields["layout"] = Layout.from_json(fields["layout"])
    for name in ("layer_indices", "tokens", "answer_tokens", "effects"):
        fields[name] = tuple(fields[name])
    fields["top_tokens"] = tuple(tuple(texts) for texts in fields.get("top_tokens", ()))
    return fields


def _rename_keys(fields: dict[str, Any]) -> None:
    """Formats 1 and 2 had other names for two keys."""
    provenance = fields["provenance"]
    if "pictures" in provenance:
        provenance["images"] = provenance.pop("pictures")
    for report in fields["effects"]:
        if "idle_reason" in report:
            report["no_effect_reason"] = report.pop("idle_reason")


def _encode(image: Image.Image) -> torch.Tensor:
    """The image's PNG or JPEG bytes as uint8 ``[byte]``."""
    buffer = io.BytesIO()
    if image.width * image.height <= _PNG_LIMIT:
        image.save(buffer, format="PNG")
    else:
        image.convert("RGB").save(buffer, format="JPEG", quality=90)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _decode(data: torch.Tensor) -> Image.Image:
    try:
        return read_images(data.numpy().tobytes())[0]
    except ImageInputError as error:
        fix = "the file is damaged: save the trace again"
        raise TraceFileError(message(f"an image of it: {error}", "images as Trace.save writes them", fix)) from error
