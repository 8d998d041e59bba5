"""MME's folders as a data set: two yes/no questions about each image of each subtask."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.record_files import read_file, usable_name
from lvlmscope.evaluation.datasets.tables import ANSWER_TOKENS
from lvlmscope.evaluation.metrics.answer_rows import is_yes
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["read_mme"]

_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp")


@checked
@task("read MME's folders")
def read_mme(folder: str | os.PathLike[str], subtasks: tuple[str, ...] | None = None) -> Dataset:
    """MME's questions with their images.

    Each subtask is a folder. It holds images and text files of the same name, side by side or in the folders `images`
    and `questions_answers_YN`; a text file has one question a line, a tab, and Yes or No.

    Args:
        folder: The folder of the subtasks.
        subtasks: Which of them; None for all.

    Returns:
        The data set, ids being `SUBTASK/IMAGE/NUMBER` and kinds the subtasks.

    Raises:
        EvaluationError: No such folder or subtask, a text file without its image or the reverse, or a line without a
            question and its label (with its row).
    """
    home = path_of(folder, EvaluationError)
    if not home.is_dir():
        raise EvaluationError(message(f"{home}, which is no folder", "the folder of MME's subtasks", "check the path"))
    there = sorted(one.name for one in home.iterdir() if one.is_dir() and any(_texts(one)))
    chosen = there if subtasks is None else list(subtasks)
    unknown = sorted(set(chosen) - set(there))
    if unknown or not chosen:
        got = f"subtasks {unknown}" if unknown else f"no folder with text files in {home}"
        expected = ", ".join(there) or "folders with images and text files"
        raise EvaluationError(message(got, expected, "check the folder"))
    return Dataset(
        name="mme",
        metric="mme",
        items=tuple(item for name in chosen for item in _items(home / usable_name(name, str(home)))),
        max_new_tokens=ANSWER_TOKENS,
        source={"folder": os.fspath(folder), "subtasks": chosen},
    )


def _texts(subtask: Path) -> list[Path]:
    questions = subtask / "questions_answers_YN"
    return sorted((questions if questions.is_dir() else subtask).glob("*.txt"))


def _items(subtask: Path) -> Iterator[Item]:
    pictures = subtask / "images" if (subtask / "images").is_dir() else subtask
    images = {one.stem: one for one in sorted(pictures.iterdir()) if one.suffix.lower() in _ENDINGS}
    texts = _texts(subtask)
    if alone := sorted(set(images) ^ {text.stem for text in texts}):
        got = f"{subtask.name}/{usable_name(alone[0], str(subtask))!r} with an image or questions only"
        raise EvaluationError(message(got, "a text file for each image", "complete the folder"))
    for text in texts:
        usable_name(text.name, str(subtask))
        for number, line in enumerate(filter(str.strip, read_file(text).split("\n")), start=1):
            place = f"{subtask.name}/{text.name}, row {number}"
            question, tab, label = line.strip().rpartition("\t")
            if not (tab and question.strip()):
                raise EvaluationError(
                    message(f"{place}: {line[:60]!r}", "a question, a tab, Yes or No", "check the row")
                )
            truth = is_yes(label, place)
            yield Item(
                id=f"{subtask.name}/{text.stem}/{number}",
                image=images[text.stem],
                image_id=f"{subtask.name}/{images[text.stem].name}",
                question=question.strip(),
                label=truth,
                kind=subtask.name,
                place=place,
            )
