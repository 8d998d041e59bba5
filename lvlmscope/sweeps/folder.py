"""A sweep's folder: its manifest, which parts are whole, and its tables."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.run_settings import versions
from lvlmscope.evaluation.sweep_tables import (
    ERRORS,
    FORMAT,
    IMAGES,
    MANIFEST,
    WORDS,
    has_part,
    part_name,
    read_manifest,
    reading_table,
)
from lvlmscope.sweeps.run_signature import changed
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.validated_json import sealed

__all__ = ["Sweep", "load_sweep", "open_folder", "withdraw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A folder of signals; nothing of its tables is held in memory.

    Attributes:
        folder: Where it lies.
        manifest: What `sweep.json` says: signature, signals, layers, settings, versions.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    def __fspath__(self) -> str:
        """The folder's path: a sweep is passed where a folder is taken."""
        return os.fspath(self.folder)

    @property
    def num_parts(self) -> int:
        """Parts in all."""
        return int(self.manifest["parts"])

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the parts that are not whole yet."""
        return tuple(number for number in range(self.num_parts) if not has_part(self.folder, number))

    @property
    def finished(self) -> bool:
        """Whether every part is whole."""
        return not self.missing

    @property
    def words(self) -> Any:
        """The words as a `pyarrow.dataset.Dataset`, one row each, of whole parts."""
        return self._dataset(WORDS)

    @property
    def images(self) -> Any:
        """The images as a `pyarrow.dataset.Dataset`, one row each, of whole parts."""
        return self._dataset(IMAGES)

    @property
    def errors(self) -> Any:
        """The items that failed as a `pyarrow.dataset.Dataset`, one row each, of whole parts."""
        return self._dataset(ERRORS)

    def _dataset(self, name: str) -> Any:
        import pyarrow.dataset as ds

        whole = [part_name(number) for number in range(self.num_parts) if has_part(self.folder, number)]
        with reading_table(self.folder / name):
            return ds.dataset([self.folder / name / part for part in whole], format="parquet")

    def counts(self) -> dict[str, int]:
        """Rows of each table, of whole parts.

        Raises:
            EvaluationError: A file cannot be read.
        """
        if len(self.missing) == self.num_parts:
            return {WORDS: 0, IMAGES: 0, ERRORS: 0}
        found = {}
        for name in (WORDS, IMAGES, ERRORS):
            with reading_table(self.folder / name):
                found[name] = self._dataset(name).count_rows()
        return found


def load_sweep(folder: str | os.PathLike[str]) -> Sweep:
    """A sweep that was written, finished or not.

    Args:
        folder: Its folder.

    Returns:
        The sweep.

    Raises:
        EvaluationError: No such folder, or one of another format.
    """
    return Sweep(folder=Path(folder), manifest=read_manifest(folder))


def open_folder(folder: Path, signature: Mapping[str, Any], facts: Mapping[str, Any]) -> Sweep:
    """The sweep of a folder, begun if the folder has none; one with another signature is refused.

    Args:
        folder: An existing folder.
        signature: What the rows depend on.
        facts: What else the manifest says.

    Returns:
        The sweep.

    Raises:
        EvaluationError: The folder holds a sweep of something else, or other results.
        OSError: It cannot be written to.
    """
    doing = "start a sweep"
    path = folder / MANIFEST
    if not path.exists():
        if foreign := [name for name in (WORDS, IMAGES, ERRORS) if (folder / name).exists()]:
            got = f"{folder} with {', '.join(foreign)} and without {MANIFEST}"
            raise EvaluationError(message(got, "an empty folder, or one of a sweep", "choose another", task=doing))
        whole = sealed({"lvlmscope_sweep": FORMAT, "signature": signature, **facts, "versions": versions()})
        with whole_file(path) as file:
            file.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    found = load_sweep(folder)
    given = json.loads(json.dumps(signature, default=str))  # as the file holds it
    if different := changed(found.manifest["signature"], given):
        got = f"{folder}, made with other {', '.join(different)}"
        raise EvaluationError(
            message(got, "the same in every run into one folder", "choose another folder", task=doing)
        )
    return found


def withdraw(folder: Path) -> None:
    """Removes a sweep of which no part is whole; one that has a part stays, and so does what is not the sweep's.

    Args:
        folder: Its folder.
    """
    if not (folder / MANIFEST).exists() or len((found := load_sweep(folder)).missing) < found.num_parts:
        return
    for table in (folder / WORDS, folder / IMAGES, folder / ERRORS):
        for number in range(found.num_parts):
            (table / part_name(number)).unlink(missing_ok=True)
        with suppress(OSError):  # never made, or a folder of that name with files of the user's own
            table.rmdir()
    (folder / MANIFEST).unlink()
