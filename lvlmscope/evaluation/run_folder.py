"""A run's folder: answers and counts as Parquet, scores and settings as JSON, tables as Markdown."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, OutputError, first_line, message, task
from lvlmscope.evaluation.comparison import Comparison, Evaluation, Row
from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.paired_differences import Difference
from lvlmscope.evaluation.result_tables import markdown
from lvlmscope.interface.paths import path_of
from lvlmscope.traces.atomic_write import made_folder, whole_file
from lvlmscope.traces.validated_json import read_json_object, require_seal, sealed

__all__ = ["ANSWERS", "RESULTS", "TABLE", "as_json", "load_run", "save_run", "writable_folder"]

ANSWERS: Final = "answers.parquet"
RESULTS: Final = "results.json"
TABLE: Final = "table.md"
_FORMAT: Final = 1
_ITEM: Final = ("id", "image_id", "question", "objects", "label", "expected", "kind", "place")
_ROW: Final = ("label", "role", "control_of", "interventions", "edits", "seconds")
_EXPECTED: Final = "a folder that lvlmscope eval --out wrote"


@contextmanager
def writable_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder for results, made and tried before any work is done, and removed again if the work leaves it empty.

    Args:
        folder: Where to; its parents are made too.

    Yields:
        The folder.

    Raises:
        OutputError: It cannot be made or written to.
    """
    target = path_of(folder, OutputError)
    with ExitStack() as made:
        try:
            made.enter_context(made_folder(target))
            with tempfile.TemporaryFile(dir=target):
                pass
        except OSError as error:
            got, expected = str(error.strerror or error), "a folder that can be written to"
            doing = f"write results to {target}"
            raise OutputError(message(got, expected, "choose another out=", task=doing)) from error
        yield target


def as_json(result: Evaluation) -> dict[str, Any]:
    """Settings, rows with their scores, and differences, as JSON values; NaN is null."""
    scores = result.scores
    rows = [
        {name: _plain(getattr(row, name)) for name in _ROW}
        | {"tokens": sum(row.tokens), "cut_answers": sum(row.cut), "scores": _plain(scores[row.label])}
        | {name: int(row.counts[name].sum()) for name in ("unclear", "parsers_differ") if name in row.counts}
        for row in result.rows
    ]
    return {
        "lvlmscope_evaluation": _FORMAT,
        "name": result.name,
        "metric": result.metric,
        "fingerprint": result.fingerprint,
        "items": len(result.items),
        "settings": _plain(dict(result.settings)),
        "rows": rows,
        "comparisons": [_plain(asdict(one)) for one in result.comparisons],
        "by_kind": _plain(result.scores_by_kind()),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_run(result: Evaluation, folder: str | os.PathLike[str]) -> Path:
    """Writes an evaluation; `results.json` comes last and names the checksum of the answers, so that a run is whole.

    Args:
        folder: Where to; files of the same names are replaced.

    Returns:
        The folder.

    Raises:
        OutputError: The folder cannot be made or written to.
    """
    import pyarrow.parquet as pq

    require_kind("result", result, Evaluation, "an Evaluation, as evaluate and load_run give it")
    with writable_folder(folder) as target:
        try:
            (target / RESULTS).unlink(missing_ok=True)  # until the new one is there, the folder holds no run
            with whole_file(target / ANSWERS) as file:
                pq.write_table(_answer_table(result), file, compression="zstd")
            with whole_file(target / TABLE) as file:
                file.write_text(markdown(result), encoding="utf-8")
            results = sealed(as_json(result) | {"answers_sha256": _checksum(target / ANSWERS)})
            with whole_file(target / RESULTS) as file:
                file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            for name in (ANSWERS, TABLE):
                with suppress(OSError):
                    (target / name).unlink(missing_ok=True)  # of no run
            got, doing = str(error.strerror or error), f"write results to {target}"
            expected = "a folder that can be written to"
            raise OutputError(message(got, expected, "choose another out=", task=doing)) from error
    return target


def _answer_table(result: Evaluation) -> Any:
    """One record for each row and item."""
    import pyarrow as pa

    records = []
    for row in result.rows:
        for number, item in enumerate(result.items):
            record: dict[str, Any] = {"row": row.label, **{name: getattr(item, name) for name in _ITEM}}
            record["answer"] = row.answers[number]
            record["tokens"] = row.tokens[number] if row.tokens else None
            record["cut"] = row.cut[number] if row.cut else None
            records.append(record | {name: int(values[number]) for name, values in row.counts.items()})
    texts, numbers = pa.string(), pa.int64()
    types = {"objects": pa.list_(texts), "expected": pa.list_(texts), "label": pa.bool_(), "tokens": numbers}
    types |= {"cut": pa.bool_()} | dict.fromkeys(result.rows[0].counts, numbers)
    schema = pa.schema([(name, types.get(name, texts)) for name in records[0]])
    return pa.Table.from_pylist(records, schema=schema)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@task("read a run")
def load_run(folder: str | os.PathLike[str]) -> Evaluation:
    """Reads an evaluation that `save_run` wrote.

    Args:
        folder: The run's folder.

    Returns:
        The evaluation; its items have no images.

    Raises:
        EvaluationError: No such folder, a file that is missing, cut short or of another run, or a newer format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    home = path_of(folder, EvaluationError)
    results = read_json_object(home / RESULTS, _EXPECTED, EvaluationError)
    if results.get("lvlmscope_evaluation") != _FORMAT:
        got = f"{home / RESULTS} of format {results.get('lvlmscope_evaluation')!r}"
        raise EvaluationError(message(got, f"format {_FORMAT}", "use the version that wrote it"))
    require_seal(results, str(home / RESULTS), _EXPECTED, EvaluationError)
    try:
        if _checksum(home / ANSWERS) != results.get("answers_sha256"):
            got = f"{home / ANSWERS}, which belongs to another run than {RESULTS} or was changed"
            raise EvaluationError(message(got, _EXPECTED, "run it again"))
        table = pq.read_table(home / ANSWERS)
    except (OSError, pa.ArrowInvalid) as error:
        raise EvaluationError(message(f"{home / ANSWERS}: {first_line(error)}", _EXPECTED, "run it again")) from error
    count, rows = results["items"], []
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for number, row in enumerate(results["rows"]):
        part = slice(number * count, (number + 1) * count)
        rows.append(_row(row, {name: values[part] for name, values in columns.items()}))
    items = tuple(
        Item(image=None, **{name: _tuple(columns[name][number]) for name in _ITEM}) for number in range(count)
    )
    return Evaluation(
        name=results["name"],
        metric=results["metric"],
        fingerprint=results["fingerprint"],
        items=items,
        rows=tuple(rows),
        comparisons=tuple(map(_comparison, results["comparisons"])),
        settings=results["settings"],
    )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _row(saved: Mapping[str, Any], columns: Mapping[str, list[Any]]) -> Row:
    known = {"row", *_ITEM, "answer", "tokens", "cut"}
    generated = columns["tokens"][:1] != [None]
    facts = {name: _tuple(saved[name]) for name in _ROW if name != "seconds"}
    return Row(
        **facts,
        seconds=math.nan if saved["seconds"] is None else saved["seconds"],
        answers=tuple(columns["answer"]),
        counts={name: np.array(values, dtype=np.int64) for name, values in columns.items() if name not in known},
        tokens=tuple(columns["tokens"]) if generated else (),
        cut=tuple(columns["cut"]) if generated else (),
    )


def _comparison(saved: Mapping[str, Any]) -> Comparison:
    gaps = {
        name: Difference(**{part: math.nan if value is None else value for part, value in gap.items()})
        for name, gap in saved["differences"].items()
    }
    return Comparison(**{**saved, "differences": gaps})
