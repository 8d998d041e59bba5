"""POPE's questions made from annotations: about present objects, and about absent ones of three kinds."""

from collections import Counter
from typing import Annotated, Final, Literal, get_args

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.datasets.tables import ANSWER_TOKENS
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.tiny.world import with_article

__all__ = ["NEGATIVES", "Negatives", "make_questions"]

Negatives = Literal["random", "popular", "adversarial"]
NEGATIVES: Final[tuple[Negatives, ...]] = get_args(Negatives)


@checked
@task("make yes/no questions")
def make_questions(
    dataset: Dataset,
    negatives: Negatives,
    *,
    per_image: Annotated[int, Range(ge=1)] = 3,
    images: Annotated[int, Range(ge=1)] | None = None,
    seed: Annotated[int, Range(ge=0)] = 0,
) -> Dataset:
    """POPE's questions about images whose objects are known, half of them with the answer no.

    Of each image with `per_image` objects or more that many are asked for, drawn at random, and as many absent ones:
    `"random"` ones, the most `"popular"` ones (present in the most images), or the most `"adversarial"` ones (present
    most often together with the image's objects). Ties are broken at random. The published files ask about 500 images
    with more than three objects.

    Args:
        dataset: Images with objects, for CHAIR.
        negatives: Which absent objects are asked for.
        per_image: Questions of each answer for an image.
        images: How many images, drawn at random; None for all with enough objects.
        seed: Of all draws.

    Returns:
        The questions, ids being `IMAGE/NUMBER`.

    Raises:
        EvaluationError: No objects in the data set, another word for `negatives`, or no image with enough present and
            absent objects.

    Reference:
        Li et al. 2023, arXiv 2305.10355, section 5.
    """
    require_kind("dataset", dataset, Dataset, "a Dataset (bundled_dataset and read_dataset give one)")
    if dataset.vocabulary is None or any(item.objects is None for item in dataset.items):
        got, expected = f"{dataset!r} without objects", "images with objects"
        raise EvaluationError(message(got, expected, "read COCO annotations, or a table with objects"))
    known = sorted(dataset.vocabulary.categories)
    rng = np.random.default_rng([seed, NEGATIVES.index(negatives)])
    fit = [i for i in dataset.items if per_image <= len(i.objects or ()) <= len(known) - per_image]
    if not fit:
        got, fix = f"no image with {per_image} objects or more", "ask for fewer an image"
        raise EvaluationError(message(got, "an image with enough objects", fix))
    if images is not None and images < len(fit):
        fit = [fit[n] for n in sorted(rng.choice(len(fit), images, replace=False).tolist())]
    together = _co_occurrences(dataset)
    questions: list[Item] = []
    for item in fit:
        present = [str(name) for name in rng.permutation(sorted(item.objects or ()))]
        absent = [str(name) for name in rng.permutation([name for name in known if name not in present])]
        if negatives == "popular":
            absent.sort(key=lambda name: -together[name, name])
        elif negatives == "adversarial":
            absent.sort(key=lambda name: -sum(together[name, one] for one in present))
        pairs = [pair for both in zip(present, absent, strict=False) for pair in zip(both, (True, False), strict=True)]
        questions += [_question(item, number, *pair) for number, pair in enumerate(pairs[: 2 * per_image])]
    options = {"negatives": negatives, "per_image": per_image, "images": images, "seed": seed}
    return Dataset(
        name=f"{dataset.name}-{negatives}",
        metric="pope",
        items=tuple(questions),
        max_new_tokens=ANSWER_TOKENS,
        source={**dataset.source, "made_questions": options},
    )


def _co_occurrences(dataset: Dataset) -> Counter[tuple[str, str]]:
    """In how many images two categories are together; a category with itself: in how many it is."""
    return Counter((one, other) for item in dataset.items for one in item.objects or () for other in item.objects or ())


def _question(item: Item, number: int, name: str, truth: bool) -> Item:
    return Item(
        id=f"{item.id}/{number}",
        image=item.image,
        image_id=item.image_id,
        question=f"Is there {with_article(name)} in the image?",
        label=truth,
        place=item.place,
    )
