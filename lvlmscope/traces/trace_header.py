"""The JSON part of a trace file: its schema, older versions, and limits that hold before anything is expanded."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired

from annotated_types import Ge
from typing_extensions import TypedDict

from lvlmscope.errors import TraceFileError, message
from lvlmscope.traces.token_layout import Box, Kind, Layout, Role
from lvlmscope.traces.validated_json import MAX_JSON_BYTES, STRICT, validated

if TYPE_CHECKING:
    from lvlmscope.traces.trace import Trace

__all__ = ["FORMAT_VERSION", "MAX_HEADER_BYTES", "header_of", "parse_header"]

Count = Annotated[int, Ge(0)]


class _Image(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]

    cells: list[tuple[Count, Count, Role, int, int, int, int, Box | None]]
    size: tuple[int, int] | None
    grid: tuple[int, int] | None
    pixels: Literal["image", "input"]
    reason: str


class _Layout(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]

    kinds: list[tuple[Kind, Count]]
    images: list[_Image]


class _Fields(TypedDict):
    """Fields of all versions."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    format_version: int
    layer_indices: list[Count]
    layout: _Layout
    tokens: list[str]
    answer_tokens: list[str]
    top_tokens: NotRequired[list[list[str]]]
    prompt: str
    answer: str
    provenance: dict[str, Any]
    effects: list[dict[str, Any]]
    kept_keys: NotRequired[Literal["all", "image_answer"]]
    image_count: Count
    checksums: NotRequired[dict[str, list[Count]]]


FORMAT_VERSION: Final = 3
_SINCE_3: Final = ("top_tokens", "kept_keys", "checksums")  # formats 1 and 2 lack some of them
MAX_HEADER_BYTES: Final = MAX_JSON_BYTES  # a trace of 2,000 tokens over 5,000 keys has less than 2 MB
_FIX: Final = "save the trace again"


def header_of(trace: "Trace") -> dict[str, Any]:
    """What a trace file says of itself beside its tensors.

    Returns:
        JSON values.
    """
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


def parse_header(text: str, shape: Sequence[int]) -> dict[str, Any]:
    """The plain fields of a trace, from the text that its file holds.

    Args:
        text: The JSON text.
        shape: Of the file's attention ``[step, layer, head, key]``; the counts in the text must agree with it.

    Returns:
        Keyword arguments of ``Trace``, with ``image_count`` and ``checksums`` beside them.

    Raises:
        TraceFileError: Not JSON, a newer format, a field that this format has and that is missing, an unknown one or
            one of another type, or counts that do not agree with the tensors.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceFileError(message(f"metadata that is not JSON ({error})"[:200], "a trace's fields", _FIX)) from error
    version = found.get("format_version") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise TraceFileError(message(f"format version {version!r}"[:80], f"1 to {FORMAT_VERSION}", _FIX))
    if version > FORMAT_VERSION:
        expected = f"up to version {FORMAT_VERSION}"
        raise TraceFileError(message(f"format version {version}", expected, "upgrade lvlmscope"))
    fields: dict[str, Any] = dict(validated(_Fields, text, "the fields that Trace.save writes", TraceFileError))
    del fields["format_version"]
    if version < FORMAT_VERSION:
        _rename_keys(fields)
    elif missing := [name for name in _SINCE_3 if name not in fields]:
        got, expected = f"format version {version} without {missing[0]}", "the fields that Trace.save writes"
        raise TraceFileError(message(got, expected, "the file is damaged: save the trace again"))
    _require_counts(fields, shape)
    fields["layout"] = Layout.from_json(fields["layout"])
    for name in ("layer_indices", "tokens", "answer_tokens", "effects"):
        fields[name] = tuple(fields[name])
    fields["top_tokens"] = tuple(tuple(texts) for texts in fields.get("top_tokens", ()))
    return fields


def _require_counts(fields: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Counts agree with the tensors; run lengths are summed, not expanded."""
    if len(shape) != 4:
        raise TraceFileError(message(f"attention of {len(shape)} axes", "axes step, layer, head and key", _FIX))
    steps, layers, _, keys = shape
    kinds = sum(count for _, count in fields["layout"]["kinds"])
    alternatives = len(fields.get("top_tokens", ()))
    found = {
        "layers": (len(fields["layer_indices"]), layers),
        "kinds of keys": (kinds, keys),
        "texts of keys": (len(fields["tokens"]), keys),
        "answer tokens": (len(fields["answer_tokens"]), steps),
        "texts of alternatives": (alternatives, steps if alternatives else 0),
    }
    for name, (count, expected) in found.items():
        if count != expected:
            raise TraceFileError(message(f"{count} {name}", f"{expected}, as the attention has", _FIX))
    for image in fields["layout"]["images"]:
        if any(cell[0] >= keys for cell in image["cells"]):
            raise TraceFileError(message("image tokens after the last key", f"keys 0 to {keys - 1}", _FIX))


def _rename_keys(fields: dict[str, Any]) -> None:
    """Formats 1 and 2 had other names for two keys."""
    provenance = fields["provenance"]
    if "pictures" in provenance:
        provenance["images"] = provenance.pop("pictures")
    for report in fields["effects"]:
        if "idle_reason" in report:
            report["no_effect_reason"] = report.pop("idle_reason")
