"""Trace files: one safetensors file with JSON metadata and checksums, written whole or not at all, never pickle."""

import io
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lvlmscope.errors import ImageInputError, TraceFileError, first_line, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.encoded_images import DECODING_ERRORS, name_format
from lvlmscope.traces.image_identity import read_images
from lvlmscope.traces.tensor_checksums import checksums_of, require_checksums
from lvlmscope.traces.trace_header import MAX_HEADER_BYTES, header_of, parse_header

if TYPE_CHECKING:
    import xarray as xr

    from lvlmscope.traces.trace import Trace

__all__ = ["read_attention", "read_trace", "write_trace"]

_METADATA_KEY: Final = "lvlmscope_trace"
# Axes of each tensor; counts are int64, all others floats
_AXES: Final = {
    "attention": 4,
    "answer_ids": 1,
    "log_probs": 1,
    "entropy": 1,
    "margin": 1,
    "top_ids": 2,
    "top_log_probs": 2,
}
_OPTIONAL: Final = {
    "gradient": 4,
    "hidden_states": 3,
    "image_scores": 3,
    "mixed_log_probs": 1,
    "mixed_top_ids": 2,
    "mixed_top_log_probs": 2,
}
_COUNTS: Final = ("answer_ids", "top_ids", "mixed_top_ids")
_IMAGE_KEYS: Final = "image_keys"  # in the layout, and in files of formats 1 and 2 a tensor beside it
_PNG_LIMIT: Final = 1_000_000  # pixels; above it an image is stored as JPEG, which is some ten times smaller
_MAX_PIXELS: Final = 400_000_000  # of all images of one file together
_DAMAGED: Final = "the file is cut short or damaged: save the trace again"


def write_trace(trace: "Trace", path: str | os.PathLike[str]) -> None:
    """Write a trace under a temporary name beside its place, then rename it.

    Images of more than a million pixels are written as JPEG: read back they are close to those traced, not equal.

    Args:
        trace: What to write.
        path: File to write; an existing one is replaced.

    Raises:
        TraceFileError: The folder does not exist or cannot be written to.
    """
    names = [name for name in (*_AXES, *_OPTIONAL) if getattr(trace, name) is not None]
    tensors = {name: getattr(trace, name).contiguous().clone() for name in names}
    tensors |= {f"image.{number}": _encode(image) for number, image in enumerate(trace.images)}
    header = header_of(trace) | {"checksums": checksums_of(tensors)}
    with task("save a trace"):
        target = path_of(path, TraceFileError)
    with task(f"save a trace to {target}"):
        try:
            with whole_file(target) as temporary:
                save_file(tensors, temporary, metadata={_METADATA_KEY: json.dumps(header)})
        except (OSError, SafetensorError) as error:
            expected = "a file in a folder that exists and can be written to"
            raise TraceFileError(message(str(error), expected, "choose another path")) from error


def read_trace(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a saved trace, in memory of their own: what happens to the file later does not matter.

    Args:
        path: File to read.

    Returns:
        Keyword arguments of ``Trace``.

    Raises:
        TraceFileError: No such file, not a trace, cut short, damaged, of a newer format, with more than 400 million
            pixels of images, or with parts that do not fit together.
    """
    with task("load a trace"):
        source = path_of(path, TraceFileError)
    with task(f"load the trace {source}"), _opened(source) as (file, fields):
        checksums = fields.pop("checksums", {})
        count = fields.pop("image_count")
        tensors: dict[str, torch.Tensor] = {}
        for name in file.keys():  # noqa: SIM118 - no mapping
            tensors[name] = file.get_tensor(name).clone()  # safetensors maps the file into memory
            require_checksums(name, tensors[name], checksums.get(name))
        stored_keys = tensors.pop(_IMAGE_KEYS, None)
        fields["images"] = _decoded([tensors.pop(f"image.{number}") for number in range(count)])
        fields.setdefault("kept_keys", "all")  # format 1 had no other
        if stored_keys is not None and not torch.equal(stored_keys, fields["layout"].keys_of("image")):
            raise TraceFileError(message("image keys other than the layout's", "equal ones", _DAMAGED))
        return fields | tensors


@checked
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

    with task("read rows of a trace"):
        source = path_of(path, TraceFileError)
    with task(f"read rows of {source}"), _opened(source) as (file, fields):
        name = "gradient" if gradient else "attention"
        layers = list(fields["layer_indices"])
        if name not in file.keys():  # noqa: SIM118 - no mapping
            raise TraceFileError(message("no gradient in it", "its attention", "trace with gradients=True"))
        stored = file.get_slice(name)
        steps = stored.get_shape()[0]
        if (layer is not None and layer not in layers) or (step is not None and not 0 <= step < steps):
            got, expected = f"layer {layer}, step {step}", f"layers {layers}, steps 0 to {steps - 1}"
            raise TraceFileError(message(got, expected, "choose among them"))
        rows = range(steps) if step is None else range(step, step + 1)
        columns = range(len(layers)) if layer is None else range(layers.index(layer), layers.index(layer) + 1)
        values = stored[rows.start : rows.stop, columns.start : columns.stop].clone()
        if (checksums := fields.get("checksums", {}).get(name)) is not None:
            if len(checksums) != steps * len(layers):
                got, expected = f"{len(checksums)} checksums of {name}", f"{steps * len(layers)}"
                raise TraceFileError(message(got, expected, _DAMAGED))
            part = [checksums[row * len(layers) + column] for row in rows for column in columns]
            require_checksums(name, values, part)
    coords = {"step": rows, "layer": [layers[n] for n in columns], "token": ("key", list(fields["tokens"]))}
    return xr.DataArray(values.float().numpy(), dims=("step", "layer", "head", "key"), coords=coords, name=name)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its plain fields; whatever safetensors or the system refuses is a `TraceFileError`."""
    try:
        _require_trace_file(source)
        with safe_open(source, framework="pt") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            if text is None:
                got = "a safetensors file without trace metadata"
                raise TraceFileError(message(got, "a file Trace.save wrote", "check that it is a trace"))
            shape = file.get_slice("attention").get_shape() if "attention" in file.keys() else []  # noqa: SIM118
            fields = parse_header(text, shape)
            _require_tensors(file, fields["image_count"], fields.get("checksums"))
            yield file, fields
    except (SafetensorError, OSError) as error:
        if isinstance(error, TraceFileError):
            raise
        raise TraceFileError(message(str(error), "a complete safetensors file", _DAMAGED)) from error


def _require_trace_file(source: Path) -> None:
    """A file that begins as safetensors does, with a header of a size that can be read."""
    expected, fix = "a file Trace.save wrote", "check the path"
    if not source.is_file():
        raise TraceFileError(message("a folder" if source.is_dir() else "no such file", expected, fix))
    with source.open("rb") as file:
        start = file.read(9)
    if len(start) == 9 and not start.endswith(b"{"):  # eight bytes of length, then a JSON object
        raise TraceFileError(message("a file of another format", expected, fix))
    length = int.from_bytes(start[:8], "little")
    if MAX_HEADER_BYTES < length <= source.stat().st_size:  # a longer one is of a damaged file: safetensors says so
        got = f"a header of {length:,} bytes"
        raise TraceFileError(message(got, f"at most {MAX_HEADER_BYTES:,}", "trace fewer tokens at a time"))


def _require_tensors(file: Any, images: int, checksums: Mapping[str, Any] | None) -> None:
    """The file holds the tensors of a trace, each of its type and number of axes, and no others.

    Since format 3 each has checksums.
    """
    names = set(file.keys())
    encoded = {f"image.{number}" for number in range(min(images, len(names) + 1))}  # one too many is enough to miss
    missing, unknown = ({*_AXES} | encoded) - names, names - {*_AXES, *_OPTIONAL, _IMAGE_KEYS} - encoded
    if missing or unknown:
        got = f"no {min(missing)}" if missing else f"an unknown tensor {min(unknown)!r}"
        raise TraceFileError(message(got, "the tensors that Trace.save writes", _DAMAGED))
    if checksums is not None and (odd := names ^ checksums.keys()):
        got = f"{min(odd)} without {'checksums' if min(odd) in names else 'the tensor of its checksums'}"
        raise TraceFileError(message(got, "checksums of each tensor", _DAMAGED))
    for name, axes in (_AXES | _OPTIONAL).items():
        if name in names:
            stored = file.get_slice(name)
            floats = not stored.get_dtype().startswith(("I", "U", "BOOL"))
            if len(stored.get_shape()) != axes or floats == (name in _COUNTS):
                got = f"{name} of type {stored.get_dtype()} and shape {stored.get_shape()}"
                kind = "int64" if name in _COUNTS else "floats"
                raise TraceFileError(message(got, f"{kind} with {axes} axes", _DAMAGED))


def _encode(image: Image.Image) -> torch.Tensor:
    """The image's PNG or JPEG bytes as uint8 ``[byte]``."""
    buffer = io.BytesIO()
    if image.width * image.height <= _PNG_LIMIT:
        image.save(buffer, format="PNG")
    else:
        image.convert("RGB").save(buffer, format="JPEG", quality=90)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _decoded(encoded: list[torch.Tensor]) -> tuple[Image.Image, ...]:
    """Images of their bytes; none is decoded before the pixels of all are counted."""
    contents = [data.numpy().tobytes() for data in encoded]
    try:
        pixels = sum(math.prod(_size(content)) for content in contents)
        if pixels > _MAX_PIXELS:
            got, expected = f"images of {pixels:,} pixels together", f"at most {_MAX_PIXELS:,}"
            raise TraceFileError(message(got, expected, "trace fewer images at a time"))
        return tuple(read_images(content)[0] for content in contents)
    except (ImageInputError, *DECODING_ERRORS) as error:
        if isinstance(error, TraceFileError):
            raise
        got, expected = f"an image of it that cannot be read ({first_line(error)})", "PNG or JPEG, as Trace.save writes"
        raise TraceFileError(message(got, expected, _DAMAGED)) from error


def _size(content: bytes) -> tuple[int, int]:
    kind = name_format(content[:32])
    if kind not in {"PNG", "JPEG"}:
        raise ImageInputError(message(kind or "bytes of no image format", "PNG or JPEG", _DAMAGED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # counted here
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
            return opened.size
