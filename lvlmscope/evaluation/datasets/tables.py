"""Tables of (id, image, objects) or (id, image, question, label): JSON-lines, Parquet, folders of `datasets`."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import EvaluationError, ImageInputError, first_line, message, task
from lvlmscope.evaluation.datasets.coco import CAPTION_TOKENS
from lvlmscope.evaluation.datasets.items import Dataset, Item, Metric
from lvlmscope.evaluation.datasets.record_files import Record, image_file, json_lines
from lvlmscope.evaluation.metrics.answer_rows import is_yes
from lvlmscope.evaluation.metrics.chair import require_known
from lvlmscope.evaluation.metrics.coco import coco_vocabulary
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["ANSWER_TOKENS", "item_of", "read_questions", "read_table", "records_of"]

ANSWER_TOKENS: Final = 16
_IDS: Final = ("id", "question_id", "image_id")
_IMAGES: Final = ("image", "file_name")
_QUESTIONS: Final = ("question", "text", "query")


@task("read a table of images and their objects")
def read_table(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    vocabulary: Vocabulary | None = None,
) -> Dataset:
    """Images with their objects, for CHAIR, from a table.

    Columns: `id` (or `image_id`), `image` (or `file_name`; in Parquet also encoded bytes, as `datasets` writes them),
    `objects`, and if there is one `question`.

    Args:
        path: JSON-lines (`.jsonl`, `.json`), a `.parquet` file, a folder of Parquet files, or one that `save_to_disk`
            of Hugging Face's `datasets` wrote.
        images: The folder of the images; None where the table holds them, or to score existing captions.
        vocabulary: Which words name which object; `coco_vocabulary()` when None.

    Returns:
        The data set.

    Raises:
        EvaluationError: A file that is missing or of another form, a row without id, image or objects, an id given
            twice, an object that the vocabulary does not know, or an image that is not in the folder.
    """
    words = coco_vocabulary() if vocabulary is None else require_vocabulary(vocabulary)
    items = []
    for record in records_of(path, "an object with id, image and objects"):
        names = record.get("objects")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            got = f"{record.place} with objects={names!r}"[:120]
            raise EvaluationError(message(got, "a list of objects", "write [] where there is none"))
        question = record.text("question") if record.get("question") is not None else ""
        items.append(item_of(record, images, objects=tuple(sorted(set(names))), question=question))
    require_known([item.objects for item in items if item.objects], words)
    return Dataset(
        name=Path(path).stem,
        metric="chair",
        items=tuple(items),
        vocabulary=words,
        max_new_tokens=CAPTION_TOKENS,
        source={"table": os.fspath(path)},
    )


@checked
@task("read yes/no questions")
def read_questions(
    path: str | os.PathLike[str], images: str | os.PathLike[str] | None = None, *, metric: Metric = "pope"
) -> Dataset:
    """Yes/no questions about images: POPE's files as they are published, or a table.

    Columns: `question_id` (or `id`), `image` (or `file_name`), `text` (or `question`), `label`, and if there is one
    `kind`. Labels are yes and no in any letter case, 1 and 0, or booleans.

    Args:
        path: As for `read_table`.
        images: The folder of the images; None where the table holds them, or to score existing answers.
        metric: How the answers are scored.

    Returns:
        The data set.

    Raises:
        EvaluationError: A file that is missing or of another form, a row without id, image, question or a label that
            is yes or no, an id given twice, or an image that is not in the folder.
    """
    items = []
    for record in records_of(path, "an object with question_id, image, text and label"):
        label = is_yes(_given(record, "label"), record.place)
        kind = record.text("kind") if record.get("kind") is not None else ""
        items.append(item_of(record, images, question=record.text(*_QUESTIONS), label=label, kind=kind))
    return Dataset(
        name=Path(path).stem,
        metric=metric,
        items=tuple(items),
        max_new_tokens=ANSWER_TOKENS,
        source={"questions": os.fspath(path)},
    )


def _given(record: Record, name: str) -> Any:
    if (found := record.get(name)) is None:
        raise EvaluationError(message(f"{record.place} without {name}", f"a {name} in each row", "add it"))
    return found


def item_of(record: Record, images: str | os.PathLike[str] | None, **known: Any) -> Item:
    """The item of a row: its id, its image, and what else is known.

    Args:
        record: The row.
        images: The folder of the images; None where the table holds them, or for none.
        **known: Other fields of `Item`.

    Raises:
        EvaluationError: No id, no image, or one that is not in the folder.
    """
    key, found = record.id(*_IDS), record.get(*_IMAGES)
    if callable(found):
        return Item(id=key, image=found, image_id=key, place=record.place, **known)
    name = record.text(*_IMAGES)
    return Item(id=key, image=image_file(images, name, record.place), image_id=name, place=record.place, **known)


def records_of(path: str | os.PathLike[str], expected: str) -> Iterator[Record]:
    """The rows of JSON-lines, a Parquet file, a folder of them, or one of Hugging Face's `datasets`.

    Args:
        path: The file or folder.
        expected: What a row should hold, for messages.

    Yields:
        Rows with their places; images that a table holds are functions that read them.

    Raises:
        EvaluationError: A file that is missing or of another form.
    """
    file = path_of(path, EvaluationError)
    if file.suffix == ".parquet" or file.is_dir():
        yield from _columnar(file)
    else:
        yield from json_lines(file, expected)


def _columnar(path: Path) -> Iterator[Record]:
    """Rows of Parquet or Arrow files; encoded images stay in the file until one is opened."""
    files = [path] if path.is_file() else sorted([*path.rglob("*.parquet"), *path.glob("data-*.arrow")])
    if not files:
        got = f"{path} without *.parquet or data-*.arrow" if path.is_dir() else f"{path}: no such file"
        raise EvaluationError(message(got, "a table", "check the path"))
    for file in files:
        names, parts = _open(file)
        number = 0
        for rows, image_of in parts:
            for index, values in enumerate(rows()):
                number += 1
                images: dict[str, Any] = {
                    name: partial(image_of, name, index) for name in _IMAGES if name in names and _lazy(names[name])
                }
                yield Record({**values, **images}, f"{file.name}, row {number}")


_Rows = Callable[[], list[dict[str, Any]]]
_Cell = Callable[[str, int], bytes]


def _open(file: Path) -> tuple[dict[str, Any], Sequence[tuple[_Rows, _Cell]]]:
    """The columns' types, and for each part of the file its rows without images and a reader of one image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            opened = pq.ParquetFile(file)
            types, count = {field.name: field.type for field in opened.schema_arrow}, len(opened.schema_arrow)
            read = [partial(opened.read_row_group, number) for number in range(opened.num_row_groups)]
        else:
            batches = list(pa.ipc.open_stream(pa.memory_map(os.fspath(file))))
            schema = batches[0].schema if batches else ()
            types, count = {field.name: field.type for field in schema}, len(schema)
            read = [partial(_selected, batch) for batch in batches]
    except (OSError, pa.ArrowInvalid) as error:
        got = f"{file.name}: {first_line(error)}"
        raise EvaluationError(message(got, "a Parquet file or an Arrow stream", "check the file")) from error
    if len(types) < count:
        got = f"{file.name} with two columns of one name"
        raise EvaluationError(message(got, "every name once", "rename one"))
    plain = [name for name, kind in types.items() if not (name in _IMAGES and _lazy(kind))]
    return types, [(partial(_plain_rows, part, plain), partial(_image_cell, part)) for part in read]


def _selected(batch: Any, columns: list[str]) -> Any:
    return batch.select(columns)


def _plain_rows(read: Callable[..., Any], columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _table(read, columns).to_pylist()
    return rows


def _image_cell(read: Callable[..., Any], name: str, index: int) -> bytes:
    """The encoded image of a row; `datasets` writes a struct with bytes and path."""
    value = _column(read, name)[index].as_py()
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes):
        raise ImageInputError(message(f"a row without bytes in {name}", "encoded images", "embed them"))
    return encoded


@lru_cache(maxsize=1)  # images are opened in order: the part of the file that is being read
def _column(read: Callable[..., Any], name: str) -> Any:
    return _table(read, [name]).column(name)


def _table(read: Callable[..., Any], columns: list[str]) -> Any:
    """The columns of one part of a file, whose pages may be damaged although its footer is not."""
    import pyarrow as pa

    try:
        return read(columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        got = f"a part that cannot be read ({first_line(error)})"
        raise EvaluationError(message(got, "a Parquet file or an Arrow stream", "check the file")) from error


def _lazy(kind: Any) -> bool:
    """Whether a column holds encoded images rather than their names."""
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind))
