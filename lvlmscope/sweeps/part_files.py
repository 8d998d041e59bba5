"""Files of a part: each whole or not at all, and that of the images last, so that it says that the part is whole."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import OutputError, first_line, message
from lvlmscope.evaluation.sweep_tables import FORMAT, WORDS, metadata, part_name
from lvlmscope.sweeps.part_run import FailedItem, SweptItem
from lvlmscope.sweeps.part_tables import Columns, part_tables
from lvlmscope.traces.atomic_write import whole_file

__all__ = ["write_part"]

_COMPRESSION: Final[dict[str, Any]] = {"compression": "zstd", "compression_level": 3}
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def write_part(folder: Path, number: int, results: Sequence[SweptItem | FailedItem], columns: Columns) -> None:
    """Writes a part's tables.

    Args:
        folder: The sweep's folder.
        number: Of the part.
        results: What its items gave.
        columns: Signals and labels.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to.
    """
    about = metadata(format=FORMAT, part=number, layers=list(columns.layers), tokens=columns.tokens)
    try:
        for name, table in part_tables(results, columns).items():
            (folder / name).mkdir(exist_ok=True)
            with whole_file(folder / name / part_name(number)) as file:
                _write(table.replace_schema_metadata(about), file, columns if name == WORDS else None)
    except OSError as error:
        got, doing = f"{error.strerror or first_line(error)}, at part {number}", f"write a sweep to {folder}"
        expected, fix = "a folder that can be written to", "choose another folder"
        if error.errno in _FULL:
            expected, fix = "space for the rest", "free some and run the same sweep again: whole parts are kept"
        raise OutputError(message(got, expected, fix, task=doing)) from error


def _write(table: Any, file: Path, columns: Columns | None) -> None:
    import pyarrow.parquet as pq

    # Values of signals hardly repeat: a dictionary of them would be as large as they are
    numbers = columns.signals if columns is not None else {}
    repeated = [name for name in table.column_names if name not in numbers]
    pq.write_table(table, file, use_dictionary=repeated, **_COMPRESSION)
