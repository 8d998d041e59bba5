"""One reader for all data sets, by metric and by what lies at a path."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final

from lvlmscope.errors import EvaluationError, first_line, message, task
from lvlmscope.evaluation.datasets.amber import read_amber
from lvlmscope.evaluation.datasets.coco import Unannotated, read_coco
from lvlmscope.evaluation.datasets.conversations import has_turns, read_conversations
from lvlmscope.evaluation.datasets.items import Dataset, Metric
from lvlmscope.evaluation.datasets.made_questions import Negatives, make_questions
from lvlmscope.evaluation.datasets.mme import read_mme
from lvlmscope.evaluation.datasets.tables import read_questions, read_table
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["read_dataset"]

_START: Final = 65536
_USED: Final[dict[str, tuple[str, ...]]] = {
    "chair": ("reference_captions", "vocabulary", "unannotated"),
    "pope": ("reference_captions", "vocabulary", "unannotated", "negatives", "per_image"),
    "mme": ("subtasks",),
    "amber": ("queries",),
}


@checked
@task("read a data set")
def read_dataset(
    metric: Metric,
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    reference_captions: str | os.PathLike[str] | None = None,
    vocabulary: Vocabulary | None = None,
    unannotated: Unannotated | None = None,
    negatives: Negatives | None = None,
    per_image: Annotated[int, Range(ge=1)] | None = None,
    seed: Annotated[int, Range(ge=0)] = 0,
    queries: str | None = None,
    subtasks: tuple[str, ...] | None = None,
) -> Dataset:
    """A data set in the format found at a path.

    Args:
        metric: `"chair"`: COCO's `instances_*.json` or a table of images and objects. `"pope"`: POPE's questions, a
            table of them, or with `negatives` annotations to make some from. A table whose rows have `turns` is one of
            conversations (`read_conversations`). `"mme"`, `"amber"`: their folders.
        path: The file or folder.
        images: The folder of the images; None where the data holds them, or to score existing answers.
        reference_captions: COCO's `captions_*.json`, for annotations.
        vocabulary: Which words name which object, for CHAIR; `coco_vocabulary()` when None.
        unannotated: What to do with images without objects, for annotations; see `read_coco`.
        negatives: Make POPE's questions from annotations, with absent objects of this kind; see `make_questions`.
        per_image: Made questions of each answer for an image, 3 when None.
        seed: Of made questions.
        queries: AMBER's file of queries.
        subtasks: MME's subtasks; None for all.

    Returns:
        The data set.

    Raises:
        EvaluationError: What the reader of the format raises, or an option that the format does not use.
    """
    options = {
        "reference_captions": reference_captions,
        "vocabulary": vocabulary,
        "unannotated": unannotated,
        "negatives": negatives,
        "per_image": per_image,
        "queries": queries,
        "subtasks": subtasks,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    _refuse_unused(given, _USED[metric], f"data for {metric}")
    if metric == "amber":
        return read_amber(path, images, queries=queries or "query_all.json")
    if metric == "mme":
        if images is not None:
            raise EvaluationError(message("images= for MME", "the folder, which holds its images", "leave it out"))
        return read_mme(path, subtasks)
    made: dict[str, Any] = {
        name: given.pop(name) for name in ("negatives", "per_image") if name in given and negatives is not None
    }
    if metric == "pope" and negatives is None:
        _refuse_unused(given, (), "a file of questions")
        return (read_conversations if has_turns(path) else read_questions)(path, images)
    described = _annotations(path, images, given)
    return described if negatives is None else make_questions(described, seed=seed, **made)


def _refuse_unused(given: dict[str, Any], used: tuple[str, ...], what: str) -> None:
    if unused := sorted(set(given) - set(used)):
        got = f"{', '.join(unused)} for {what}"
        raise EvaluationError(message(got, ", ".join(used) or "no such option", "leave it out"))


def _annotations(path: str | os.PathLike[str], images: str | os.PathLike[str] | None, given: dict[str, Any]) -> Dataset:
    if _is_table(path_of(path, EvaluationError)):
        _refuse_unused(given, ("vocabulary",), "a table")
        if has_turns(path):
            return read_conversations(path, images, metric="chair", **given)
        return read_table(path, images, **given)
    if "reference_captions" in given:
        given = {**given, "captions": given["reference_captions"]}
        del given["reference_captions"]
    return read_coco(path, images, **given)


def _is_table(path: Path) -> bool:
    """Whether a file holds records rather than one document: columns, or JSON-lines by its first line."""
    if path.is_dir() or path.suffix in (".parquet", ".jsonl"):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        raise EvaluationError(message(first_line(error), "a file that can be read", "check the path")) from error
    try:
        first = json.loads(start.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "annotations" not in first and "images" not in first
