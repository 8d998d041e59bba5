"""COCO's annotations: the objects of each image, from `instances_*.json` and, if given, `captions_*.json`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.record_files import Record, image_file, json_document
from lvlmscope.evaluation.metrics.chair import require_known
from lvlmscope.evaluation.metrics.coco import coco_vocabulary
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, require_vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["CAPTION_TOKENS", "Unannotated", "read_coco"]

Unannotated = Literal["refuse", "skip", "keep"]
CAPTION_TOKENS: Final = 512  # the length that published CHAIR figures allow
_KEPT: Final = ("images", "annotations", "categories", "id", "image_id", "category_id", "file_name", "name", "caption")


@checked
@task("read COCO annotations")
def read_coco(
    instances: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    captions: str | os.PathLike[str] | None = None,
    vocabulary: Vocabulary | None = None,
    unannotated: Unannotated = "refuse",
) -> Dataset:
    """Images with their objects, for CHAIR.

    With reference captions an object counts as present where it is annotated or named by one of them, as published.
    Outlines and boxes are dropped while the file is read, so that 0.2 GB of annotations need little more memory than
    their text.

    Args:
        instances: `instances_*.json`: `images`, `annotations` and `categories`.
        images: The folder of the images; None to score existing captions.
        captions: `captions_*.json` of the same images.
        vocabulary: Which words name which category; `coco_vocabulary()` when None.
        unannotated: Images without any object: `"refuse"` them, `"skip"` them, or `"keep"` them, every object that a
            caption names being a hallucination then.

    Returns:
        The data set, ids being COCO's image ids.

    Raises:
        EvaluationError: A file that is missing or of another form, ids that are unknown or given twice, a category
            that the vocabulary does not know, an image that is not in the folder, or one without objects.
    """
    words = coco_vocabulary() if vocabulary is None else require_vocabulary(vocabulary)
    name = path_of(instances, EvaluationError).name
    document = _document(instances, "images", "annotations", "categories")
    named = {key: (record, record.text("file_name")) for key, record in _by_id(document["images"], f"image of {name}")}
    categories = {key: record.text("name") for key, record in _by_id(document["categories"], f"category of {name}")}
    require_known([categories.values()], words)
    objects: dict[str, set[str]] = {image: set() for image in named}
    for annotation in _records(document["annotations"], f"annotation of {name}"):
        image = _known(annotation, "image_id", objects)
        objects[image].add(categories[_known(annotation, "category_id", categories)])
    for image, caption in _captions(captions, objects) if captions is not None else ():
        objects[image] |= {one for mention in words.mentions(caption) for one in (mention.category, *mention.also)}
    kept = _with_objects(objects, {image: file for image, (_, file) in named.items()}, unannotated)
    return Dataset(
        name=Path(instances).stem,
        metric="chair",
        items=tuple(
            Item(
                id=image,
                image_id=image,
                image=image_file(images, named[image][1], named[image][0].place),
                objects=tuple(sorted(objects[image])),
                place=named[image][0].place,
            )
            for image in kept
        ),
        vocabulary=words,
        max_new_tokens=CAPTION_TOKENS,
        source={
            "instances": os.fspath(instances),
            "captions": None if captions is None else os.fspath(captions),
            "unannotated": unannotated,
        },
    )


def _document(path: str | os.PathLike[str], *lists: str) -> dict[str, list[Any]]:
    expected = f"an object with the lists {', '.join(lists)}"
    found = json_document(path, expected, keep=_small)
    if not isinstance(found, dict):
        got = f"{Path(path).name}, which holds a {type(found).__name__}"
        raise EvaluationError(message(got, expected, "pass a file in COCO's format"))
    missing = [name for name in lists if not isinstance(found.get(name), list)]
    if missing:
        got = f"{Path(path).name} without the list {' and '.join(missing)}"
        raise EvaluationError(message(got, expected, "pass a file in COCO's format"))
    return found


def _small(values: dict[str, Any]) -> dict[str, Any]:
    """The fields that are read; outlines are most of the file."""
    return {name: values[name] for name in _KEPT if name in values}


def _records(listed: Iterable[Any], what: str) -> Iterator[Record]:
    noun, _, name = what.partition(" of ")
    for number, values in enumerate(listed, start=1):
        place = f"{name}, {noun} {number}"
        if not isinstance(values, dict):
            raise EvaluationError(message(f"{place}, a {type(values).__name__}", "an object", "check the file"))
        yield Record(values, place)


def _by_id(listed: Iterable[Any], what: str) -> Iterator[tuple[str, Record]]:
    seen: dict[str, str] = {}
    for record in _records(listed, what):
        key = record.id("id")
        if key in seen:
            got = f"id {key} twice: {seen[key]} and {record.place}"
            raise EvaluationError(message(got, "every id once", "remove or rename one"))
        seen[key] = record.place
        yield key, record


def _known(record: Record, field: str, known: Mapping[str, Any]) -> str:
    key = record.id(field)
    if key not in known:
        got = f"{record.place} with the unknown {field} {key}"
        raise EvaluationError(message(got, f"one of the file's {len(known)} ids", "check the file"))
    return key


def _captions(path: str | os.PathLike[str], wanted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Reference captions of the wanted images; those of other images of the same file are left out."""
    name = path_of(path, EvaluationError).name
    document = _document(path, "images", "annotations")
    own = dict(_by_id(document["images"], f"image of {name}"))
    for record in _records(document["annotations"], f"annotation of {name}"):
        image = record.id("image_id")
        if image in wanted:
            yield image, record.text("caption")
        else:
            _known(record, "image_id", own)


def _with_objects(objects: Mapping[str, set[str]], files: Mapping[str, str], unannotated: Unannotated) -> list[str]:
    bare = [image for image, names in objects.items() if not names]
    if bare and unannotated == "refuse":
        got = f"{len(bare)} of {len(objects)} images without annotations, {files[bare[0]]} the first"
        fix = "add captions=, or pass unannotated='skip' or 'keep'"
        raise EvaluationError(message(got, "objects in each image", fix))
    return [image for image, names in objects.items() if names or unannotated == "keep"]
