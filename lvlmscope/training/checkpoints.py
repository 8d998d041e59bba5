"""Checkpoints that a run can go on from: each has the digests of its files, written last."""

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Final

from typing_extensions import TypedDict

from lvlmscope.errors import CellError, message, task
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.validated_json import STRICT, read_json_object, validated

__all__ = ["DIGESTS_FILE", "last_whole_checkpoint", "write_digests"]

DIGESTS_FILE: Final = "digests.json"
_NAME: Final = re.compile(r"checkpoint-(\d+)")


class _Digests(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]

    sha256: dict[str, str]


def write_digests(folder: Path) -> None:
    """Note the digest of every file of a checkpoint that is written.

    Args:
        folder: The checkpoint.
    """
    found = {each.name: _digest(each) for each in sorted(folder.iterdir()) if each.name != DIGESTS_FILE}
    with whole_file(folder / DIGESTS_FILE) as temporary:
        temporary.write_text(json.dumps({"sha256": found}, indent=1) + "\n", encoding="utf-8")


@task("resume training")
def last_whole_checkpoint(output: Path) -> Path | None:
    """The checkpoint of the most steps whose files are all as they were written; damaged ones are warned of.

    Args:
        output: Folder of the run.

    Returns:
        Its folder; None where there are no checkpoints.

    Raises:
        CellError: There are checkpoints and each is damaged; a file of the last one is named.
    """
    steps = {int(match[1]): each for each in output.glob("checkpoint-*") if (match := _NAME.fullmatch(each.name))}
    damaged: list[str] = []
    for _, folder in sorted(steps.items(), reverse=True):
        if (fault := _fault(folder)) is None:
            for each in damaged:
                warnings.warn(f"training goes on from {folder}, because of {each}.", UserWarning, stacklevel=3)
            return folder
        damaged.append(fault)
    if damaged:
        got, fix = f"no whole checkpoint in {output}: {damaged[0]}", "train without resume, or choose another output"
        raise CellError(message(got, "a checkpoint with every file as it was written", fix))
    return None


def _fault(folder: Path) -> str | None:
    """The first file of a checkpoint that is not as it was written; None when all are."""
    digests = folder / DIGESTS_FILE
    try:
        read = read_json_object(digests, "digests of a checkpoint", CellError)
        written = validated(_Digests, read, "digests of a checkpoint", CellError)["sha256"]
    except CellError:
        return f"{digests}, which is missing or damaged: it is written last"
    files = ((folder / name, digest) for name, digest in written.items())
    return next((f"{file}, which is missing or damaged" for file, digest in files if _digest(file) != digest), None)


def _digest(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
