"""AMBER's files as a data set: descriptions and yes/no questions together."""

import os
from pathlib import Path

from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.record_files import image_file
from lvlmscope.evaluation.metrics.published_files import AmberQuery, amber_files
from lvlmscope.interface.parameter_checks import checked

__all__ = ["read_amber"]

_DESCRIPTION_TOKENS = 512


@checked
def read_amber(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    queries: str = "query_all.json",
) -> Dataset:
    """AMBER's queries with their annotations.

    Args:
        folder: Where `annotations.json`, `relation.json`, `safe_words.txt` and the file of queries lie.
        images: The folder of the images; None to score existing answers.
        queries: Which file of queries.

    Returns:
        The data set, ids being AMBER's; descriptions have objects, questions a label and their type as `kind`.

    Raises:
        EvaluationError: A file that is missing or of another form, a query without an annotation, an id given twice,
            or an image that is not in the folder.
    """
    published = amber_files(folder, queries)
    items = tuple(_item(query, images, f"{queries}, query {query.number}") for query in published.queries)
    return Dataset(
        name=f"amber-{Path(queries).stem}",
        metric="amber",
        items=items,
        relations=published.relations,
        safe_words=published.safe_words,
        max_new_tokens=_DESCRIPTION_TOKENS,
        source={"folder": os.fspath(folder), "queries": queries},
    )


def _item(query: AmberQuery, images: str | os.PathLike[str] | None, place: str) -> Item:
    return Item(
        id=str(query.number),
        image=image_file(images, query.image, place),
        image_id=query.image,
        question=query.text,
        objects=query.objects if query.truth is None else None,
        label=query.truth,
        expected=query.expected,
        kind=query.kind,
        place=place,
    )
