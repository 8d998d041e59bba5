"""A folder of images as a data set: nothing is known of them, and each is described."""

import os
from pathlib import Path
from typing import Final

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.record_files import usable_name
from lvlmscope.interface.parameter_checks import checked

__all__ = ["read_image_folder"]

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


@checked
@task("read a folder of images")
def read_image_folder(folder: str | os.PathLike[str]) -> Dataset:
    """The images in a folder and in those below it, in the order of their names; they are opened when it is their turn.

    Returns:
        A data set whose ids are the paths within the folder.

    Raises:
        EvaluationError: No such folder, none with images, or a name that is not Unicode.
    """
    home = Path(folder)
    paths = sorted(path for path in home.rglob("*") if path.suffix.lower() in _SUFFIXES) if home.is_dir() else []
    if not paths:
        got, expected = f"{home} without images", f"a folder with files that end in {', '.join(sorted(_SUFFIXES))}"
        raise EvaluationError(message(got, expected, "check the path"))
    items = tuple(_item(home, path) for path in paths)
    return Dataset(name=home.name, metric="chair", items=items, max_new_tokens=128, source={"folder": str(home)})


def _item(home: Path, path: Path) -> Item:
    name = usable_name(path.relative_to(home).as_posix(), str(home))
    return Item(id=name, image=str(path), image_id=name, place=str(path))
