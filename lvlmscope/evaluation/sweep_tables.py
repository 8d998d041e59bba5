"""The tables of a sweep's folder: where they lie, and the words that detectors are scored on."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from lvlmscope.errors import EvaluationError, first_line, message, task
from lvlmscope.evaluation.signal_registry import WordSignal, list_signals, signal_named
from lvlmscope.evaluation.word_labels import LABELS, LabelledWord
from lvlmscope.evaluation.word_table import WordTable
from lvlmscope.traces.validated_json import read_json_object, require_seal
from lvlmscope.traces.word_values import Tokens

__all__ = ["ERRORS", "FORMAT", "IMAGES", "MANIFEST", "WORDS"]
__all__ += [
    "category_names",
    "has_part",
    "image_ids",
    "metadata",
    "part_name",
    "read_manifest",
    "reading_table",
    "require_tokens",
    "sweep_words",
    "word_batches",
]

MANIFEST: Final = "sweep.json"
WORDS: Final = "words"
IMAGES: Final = "images"
ERRORS: Final = "errors"
FORMAT: Final = 2
_EXPECTED: Final = "a folder that lvlmscope sweep wrote"
_WORD: Final = ("text", "category", "label", "start", "end", "first_step", "last_step")


def part_name(number: int) -> str:
    """The file name of a part, the same in each of the three folders.

    >>> part_name(7)
    'part-000007.parquet'
    """
    return f"part-{number:06d}.parquet"


def has_part(folder: Path, number: int) -> bool:
    """Whether a part is whole: all of its tables are there.

    Args:
        folder: The sweep's folder.
        number: Of the part.
    """
    return all((folder / name / part_name(number)).is_file() for name in (WORDS, ERRORS, IMAGES))


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
    with task("read a sweep"):
        require_seal(found, str(path), _EXPECTED, EvaluationError)
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
    require_tokens(about, tokens)
    chosen = _chosen(about, signals, doing)
    layered = {each.name for each in chosen if about["signals"][each.name]}
    layers = tuple(about["layers"])
    words: list[LabelledWord] = []
    items: list[str] = []
    blocks: dict[str, list[np.ndarray]] = {each.name: [] for each in chosen}
    named = ["item_id", *_WORD, *(each.name for each in chosen)]
    for batch in word_batches(Path(folder), named, labelled=True, objects=True):
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


def require_tokens(about: Mapping[str, Any], tokens: Tokens) -> None:
    """Refuses to read a sweep's words at other tokens than it did.

    Args:
        about: The manifest.
        tokens: What is asked for.

    Raises:
        EvaluationError: They differ.
    """
    own = about["settings"]["tokens"]
    if own != tokens:
        got = f"tokens={tokens!r} of a sweep that read {own!r}"
        raise EvaluationError(message(got, "the sweep's own", "pass the same", task="read the words of a sweep"))


def word_batches(
    folder: Path,
    columns: Sequence[str],
    *,
    labelled: bool = False,
    objects: bool = False,
    category: str | None = None,
) -> Iterator[Any]:
    """A sweep's words, some thousand rows at a time, in the order of the parts.

    Args:
        folder: The sweep's folder.
        columns: Which columns are read.
        labelled: Leave out words of images whose objects are not known.
        objects: Leave out words that name no object, too.
        category: Leave out words that do not name this object; None for none.

    Yields:
        Arrow record batches.

    Raises:
        EvaluationError: The files cannot be read.
    """
    import pyarrow.dataset as ds

    kept = None
    if labelled:
        kept = ds.field("label").isin(LABELS[:2] if objects else LABELS)
    if category is not None:
        own = ds.field("category") == category
        kept = own if kept is None else kept & own
    yield from _batches(folder, WORDS, columns, kept)


def category_names(folder: Path) -> list[str]:
    """Objects that the labelled words of a sweep name, in the order of their names.

    Args:
        folder: The sweep's folder.

    Raises:
        EvaluationError: The files cannot be read.
    """
    batches = word_batches(folder, ["category"], labelled=True, objects=True)
    return sorted({one for batch in batches for one in batch.column(0).to_pylist()})


def image_ids(folder: Path) -> list[str]:
    """Ids of the images that were answered, in order.

    Args:
        folder: The sweep's folder.

    Raises:
        EvaluationError: The files cannot be read.
    """
    return [one for batch in _batches(folder, IMAGES, ["item_id"], None) for one in batch.column(0).to_pylist()]


def _batches(folder: Path, name: str, columns: Sequence[str], kept: Any) -> Iterator[Any]:
    """Record batches of the whole parts of one table."""
    import pyarrow.dataset as ds

    with reading_table(folder / name):
        numbers = range(read_manifest(folder)["parts"])
        whole = [part_name(number) for number in numbers if has_part(folder, number)]
        if whole:
            table = ds.dataset([folder / name / part for part in whole], format="parquet")
            found = table.to_batches(columns=list(columns), filter=kept)
            yield from (batch for batch in found if batch.num_rows)


@contextmanager
def reading_table(table: Path) -> Iterator[None]:
    """Inside, a file of a table that cannot be read is refused.

    Args:
        table: The table's folder.

    Yields:
        Nothing.

    Raises:
        EvaluationError: A file is damaged or cannot be opened.
    """
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        got = f"{table}: {first_line(error)}"
        fix = "delete that file and run the same sweep again"
        raise EvaluationError(message(got, _EXPECTED, fix, task="read a sweep")) from error


def _word(row: dict[str, Any]) -> LabelledWord:
    steps = tuple(range(row.pop("first_step"), row.pop("last_step") + 1))
    return LabelledWord(steps=steps, **row)


def metadata(**facts: Any) -> dict[bytes, bytes]:
    """Facts as a Parquet file's metadata: JSON under `lvlmscope_sweep`.

    >>> metadata(part=3)
    {b'lvlmscope_sweep': b'{"part": 3}'}
    """
    return {b"lvlmscope_sweep": json.dumps(facts).encode()}
