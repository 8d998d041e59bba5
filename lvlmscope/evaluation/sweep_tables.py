"""The tables of a sweep's folder: where they lie, and the words that detectors are scored on."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from lvlmscope.errors import EvaluationError, first_line, message
from lvlmscope.evaluation.signal_registry import WordSignal, list_signals, signal_named
from lvlmscope.evaluation.word_labels import LabelledWord
from lvlmscope.evaluation.word_table import WordTable
from lvlmscope.traces.validated_json import read_json_object
from lvlmscope.traces.word_values import Tokens

__all__ = ["ERRORS", "FORMAT", "IMAGES", "MANIFEST", "WORDS"]
__all__ += ["metadata", "part_name", "read_manifest", "sweep_words"]

MANIFEST: Final = "sweep.json"
WORDS: Final = "words"
IMAGES: Final = "images"
ERRORS: Final = "errors"
FORMAT: Final = 1
_EXPECTED: Final = "a folder that lvlmscope sweep wrote"
_WORD: Final = ("text", "category", "label", "start", "end", "first_step", "last_step")


def part_name(number: int) -> str:
    """The file name of a part, the same in each of the three folders.

    >>> part_name(7)
    'part-000007.parquet'
    """
    return f"part-{number:06d}.parquet"


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a sweep's folder says of itself.

    Returns:
        The JSON values of `sweep.json`.

    Raises:
        EvaluationError: No such folder, or one of another format.
    """
    path = Path(folder) / MANIFEST
    found = read_json_object(path, _EXPECTED, EvaluationError)
    if found.get("lvlmscope_sweep") != FORMAT:
        got = f"{path} of format {found.get('lvlmscope_sweep')!r}"
        raise EvaluationError(message(got, f"format {FORMAT}", "use the version that wrote it", task="read a sweep"))
    return found


def sweep_words(
    folder: str | os.PathLike[str], *, signals: Sequence[str] | None = None, tokens: Tokens = "first"
) -> WordTable:
    """Every labelled object word of a sweep with its signals; columns and rows that are not needed are not read.

    Args:
        folder: The sweep's folder, finished or not.
        signals: Names of signals; None for all that the sweep holds.
        tokens: Which tokens of a word the sweep read.

    Returns:
        The table.

    Raises:
        EvaluationError: No sweep, a signal that it does not hold, other tokens, or no labelled word.
    """
    about, doing = read_manifest(folder), "read the words of a sweep"
    if about["settings"]["tokens"] != tokens:
        got = f"tokens={tokens!r} of a sweep that read {about['settings']['tokens']!r}"
        raise EvaluationError(message(got, "the sweep's own", "pass the same", task=doing))
    chosen = _chosen(about, signals, doing)
    layered = {each.name for each in chosen if about["signals"][each.name]}
    layers = tuple(about["layers"])
    words: list[LabelledWord] = []
    items: list[str] = []
    blocks: dict[str, list[np.ndarray]] = {each.name: [] for each in chosen}
    for batch in _batches(Path(folder), [each.name for each in chosen]):
        columns = {name: batch.column(name).to_pylist() for name in _WORD}
        words += [_word(dict(zip(_WORD, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        items += batch.column("item_id").to_pylist()
        for name, found in blocks.items():
            values = batch.column(name)
            flat = (values.flatten() if name in layered else values).to_numpy(zero_copy_only=False)
            found.append(flat.astype(np.float64).reshape(batch.num_rows, -1))
    if not words:
        got, fix = f"{folder} without labelled object words", "sweep a data set with objects and a vocabulary"
        raise EvaluationError(message(got, "words that are grounded or hallucinated", fix, task=doing))
    return WordTable(
        signals=chosen,
        values={name: np.concatenate(found) for name, found in blocks.items()},
        layers={each.name: layers if each.name in layered else () for each in chosen},
        hallucinated=np.array([word.label == "hallucinated" for word in words]),
        trace=np.unique(items, return_inverse=True)[1],
        words=tuple(words),
        left_out=tuple(f"{each.name} (not swept)" for each in list_signals() if each.name not in about["signals"]),
    )


def _chosen(about: dict[str, Any], names: Sequence[str] | None, doing: str) -> tuple[WordSignal, ...]:
    wanted = {signal_named(name).name for name in (about["signals"] if names is None else names)}
    if lacking := sorted(wanted - set(about["signals"])):
        got, expected = f"{', '.join(lacking)}, which the sweep did not read", ", ".join(about["signals"])
        raise EvaluationError(message(got, expected, "choose among these, or sweep again", task=doing))
    return tuple(each for each in list_signals() if each.name in wanted)


def _batches(folder: Path, signals: Sequence[str]) -> Iterator[Any]:
    """Record batches of the object words."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        table = ds.dataset(folder / WORDS, format="parquet")
        named = ds.field("label").isin(["grounded", "hallucinated"])
        if table.schema.names:
            yield from table.to_batches(columns=["item_id", *_WORD, *signals], filter=named)
    except (OSError, pa.ArrowInvalid) as error:
        got = f"{folder / WORDS}: {first_line(error)}"
        raise EvaluationError(message(got, _EXPECTED, "run the sweep again", task="read a sweep")) from error


def _word(row: dict[str, Any]) -> LabelledWord:
    steps = tuple(range(row.pop("first_step"), row.pop("last_step") + 1))
    return LabelledWord(steps=steps, **row)


def metadata(**facts: Any) -> dict[bytes, bytes]:
    """Facts as a Parquet file's metadata: JSON under `lvlmscope_sweep`.

    >>> metadata(part=3)
    {b'lvlmscope_sweep': b'{"part": 3}'}
    """
    return {b"lvlmscope_sweep": json.dumps(facts).encode()}
