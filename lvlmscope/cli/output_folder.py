"""Result folders: everything is written to a temporary folder first, so that a failure leaves nothing half-written."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvlmscope.errors import OutputError, message
from lvlmscope.traces.atomic_write import made_folder

__all__ = ["result_folder"]


@contextmanager
def result_folder(target: Path) -> Iterator[Path]:
    """A temporary folder whose files are moved into `target` when the block ends well.

    The target is tried before any work is done. Files of other names in it stay.

    Args:
        target: Folder for the results; made when it does not exist, and removed again on a failure.

    Yields:
        The temporary folder, beside the target.

    Raises:
        OutputError: The target is a file, or it or its parent cannot be written to.
    """
    try:
        with made_folder(target), tempfile.TemporaryDirectory(prefix=".lvlmscope-", dir=target) as name:
            folder = Path(name)
            yield folder
            for path in sorted(folder.iterdir()):
                path.replace(target / path.name)
    except OSError as error:
        got, expected = f"{error.strerror or error}", "a folder that can be written to"
        raise OutputError(message(got, expected, "choose another --out", task=f"write results to {target}")) from error
