"""The rows of a part: one for each word with its signals, one for each image, one for each item that failed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.evaluation.sweep_tables import ERRORS, IMAGES, WORDS
from lvlmscope.evaluation.word_labels import LabelledWord, labels_in, unlabelled_in
from lvlmscope.sweeps.part_run import FailedItem, SweptItem
from lvlmscope.traces.signal_trace import SignalTrace
from lvlmscope.traces.word_values import Tokens, values_at

__all__ = ["Columns", "part_tables"]

_WORD_COLUMNS: Final = {
    "item_id": "string",
    "image_id": "string",
    "word": "int32",
    "text": "string",
    "category": "string",
    "label": "string",
    "span": "string",
    "start": "int32",
    "end": "int32",
    "first_step": "int32",
    "last_step": "int32",
}
_IMAGE_COLUMNS: Final = {
    "item_id": "string",
    "image_id": "string",
    "kind": "string",
    "prompt": "string",
    "answer": "string",
    "num_tokens": "int32",
    "num_words": "int32",
    "expected_answer": "bool",
    "batch_size": "int32",
    "replay_path": "string",
    "replay_difference": "float64",
    "effects_of_batch": "string",
}
_ERROR_COLUMNS: Final = {
    "item_id": "string",
    "image_id": "string",
    "place": "string",
    "stage": "string",
    "error": "string",
    "message": "string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which signals a sweep's words have, and what labels them.

    Attributes:
        signals: By name, whether the signal has layers.
        layers: Numbers of the layers.
        tokens: Which tokens of a word are read.
        vocabulary: Which words name an object, None where that is not known.
        about: By signal, its unit, bounds, long name and reference, as JSON values.
    """

    signals: Mapping[str, bool]
    layers: tuple[int, ...]
    tokens: Tokens
    vocabulary: Vocabulary | None
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def part_tables(results: Sequence[SweptItem | FailedItem], columns: Columns) -> dict[str, Any]:
    """A part's tables by the name of their folder: words, errors and, last, images.

    Args:
        results: What the part's items gave.
        columns: Signals and labels.

    Returns:
        Arrow tables of the same columns in every part.
    """
    swept = [one for one in results if isinstance(one, SweptItem)]
    failed = [one for one in results if isinstance(one, FailedItem)]
    words = [_labelled(one, columns.vocabulary) for one in swept]
    images = [_image_row(one, len(own)) for one, own in zip(swept, words, strict=True)]
    return {
        WORDS: _word_table(swept, words, columns),
        ERRORS: _table([_error_row(one) for one in failed], _ERROR_COLUMNS),
        IMAGES: _table(images, _IMAGE_COLUMNS),
    }


def _schema(columns: Mapping[str, str]) -> Any:
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def _word_schema(columns: Columns) -> Any:
    import pyarrow as pa

    layered = pa.list_(pa.float32(), len(columns.layers))
    signals = [(name, layered if has_layers else pa.float32()) for name, has_layers in columns.signals.items()]
    return pa.schema([*_schema(_WORD_COLUMNS), *(pa.field(name, kind) for name, kind in signals)])


def _table(rows: Sequence[dict[str, Any]], columns: Mapping[str, str]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=_schema(columns))


def _labelled(one: SweptItem, vocabulary: Vocabulary | None) -> tuple[LabelledWord, ...]:
    """The words, labelled where the item's objects are known; a word that no token wrote is left out."""
    pieces, objects = one.trace.answer_tokens, one.item.objects
    words = unlabelled_in(pieces) if vocabulary is None or objects is None else labels_in(pieces, objects, vocabulary)
    return tuple(word for word in words if word.steps)


def _word_table(swept: Sequence[SweptItem], words: Sequence[Sequence[LabelledWord]], columns: Columns) -> Any:
    import pyarrow as pa

    spans = [one.trace.spans for one in swept]
    rows = [
        _word_row(one, number, word, columns.vocabulary) | {"span": None if told is None else told[word.steps[0]]}
        for one, own, told in zip(swept, words, spans, strict=True)
        for number, word in enumerate(own)
    ]
    found: dict[str, Any] = {name: [row[name] for row in rows] for name in _WORD_COLUMNS}
    size = len(columns.layers)
    for name, layered in columns.signals.items():
        read = [_values(one.trace, name, own, columns) for one, own in zip(swept, words, strict=True) if own]
        flat = np.concatenate(read).astype(np.float32).reshape(-1) if read else np.zeros(0, np.float32)
        found[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat), size) if layered else pa.array(flat)
    return pa.table(found, schema=_word_schema(columns))


def _values(trace: SignalTrace, name: str, words: Sequence[LabelledWord], columns: Columns) -> np.ndarray:
    """float64 [word, layer] on the sweep's layers."""
    values = trace.values[name]
    if values.ndim == 2 and trace.layers != columns.layers:
        own = {layer: place for place, layer in enumerate(trace.layers)}
        whole = np.full((len(values), len(columns.layers)), np.nan, np.float32)
        shared = [(place, own[layer]) for place, layer in enumerate(columns.layers) if layer in own]
        whole[:, [place for place, _ in shared]] = values[:, [other for _, other in shared]]
        values = whole
    return values_at(values.reshape(trace.num_steps, -1), [word.steps for word in words], columns.tokens)


def _word_row(one: SweptItem, number: int, word: LabelledWord, vocabulary: Vocabulary | None) -> dict[str, Any]:
    return {
        "item_id": one.item.id,
        "image_id": one.item.image_id,
        "word": number,
        "text": word.text,
        "category": word.category,
        "label": word.label if vocabulary is not None and one.item.objects is not None else None,
        "start": word.start,
        "end": word.end,
        "first_step": word.steps[0],
        "last_step": word.steps[-1],
    }


def _image_row(one: SweptItem, words: int) -> dict[str, Any]:
    item, trace = one.item, one.trace
    replay = trace.provenance["replay"]
    return {
        "item_id": item.id,
        "image_id": item.image_id,
        "kind": item.kind,
        "prompt": trace.prompt,
        "answer": trace.answer,
        "num_tokens": trace.num_steps,
        "num_words": words,
        "expected_answer": item.label,
        "batch_size": one.batch_size,
        "replay_path": replay["path"],
        "replay_difference": replay["difference"],
        "effects_of_batch": json.dumps(trace.effects, default=str) if trace.effects else None,
    }


def _error_row(one: FailedItem) -> dict[str, Any]:
    item = one.item
    facts = {"item_id": item.id, "image_id": item.image_id, "place": item.place}
    return facts | {"stage": one.stage, "error": one.kind, "message": one.text}
