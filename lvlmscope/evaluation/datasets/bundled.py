"""The bundled world as data sets: `tiny-chair` and `tiny-pope`, held-out scenes of the bundled model."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.bundled_benchmark import SPLITS, questions
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.tiny import Scene, scenes
from lvlmscope.tiny.world import with_article

__all__ = ["BUNDLED", "bundled_dataset", "require_dataset"]

Bundled = Literal["tiny-chair", "tiny-pope"]
BUNDLED: Final[tuple[Bundled, ...]] = get_args(Bundled)


@checked
@task("make a bundled data set")
def bundled_dataset(
    name: Bundled, *, n: Annotated[int, Range(ge=1)] = 100, seed: Annotated[int, Range(ge=0)] = 0
) -> Dataset:
    """Held-out scenes of the bundled world, of the splits neutral, prior and hard.

    Args:
        name: `"tiny-chair"`: images with their objects. `"tiny-pope"`: for each scene a question about a present
            object and one about an absent one, which is a random one or the missing partner of a present one.
        n: Scenes of each split.
        seed: Of the scenes.

    Returns:
        The data set; kinds are the splits, for questions with `/random` or `/partner`.

    Raises:
        ModelInputError: No such data set, or fewer than one scene.
    """
    held = [one for split in SPLITS for one in scenes(split, n=n, seed=seed)]
    described = name == "tiny-chair"
    return Dataset(
        name=name,
        metric="chair" if described else "pope",
        items=tuple(map(_described, held)) if described else tuple(_asked(held)),
        vocabulary=vocabulary() if described else None,
        max_new_tokens=MAX_NEW_TOKENS if described else 12,
        source={"n": n, "seed": seed},
    )


def require_dataset(given: Any) -> Dataset:
    """A data set as it is given, or the bundled one of that name.

    Args:
        given: A data set, `"tiny-chair"` or `"tiny-pope"`.

    Raises:
        EvaluationError: Neither.
    """
    if isinstance(given, Dataset):
        return given
    if isinstance(given, str) and given in BUNDLED:
        return bundled_dataset(given)
    got = f"{given!r}"[:80] + " as data set"
    fix = "read one with lvlmscope.evaluation.datasets.read_coco, read_questions, read_table, read_amber or read_mme"
    raise EvaluationError(message(got, f"a Dataset, or {' or '.join(map(repr, BUNDLED))}", fix))


def _described(scene: Scene) -> Item:
    return Item(
        id=_id(scene), image=scene.image, image_id=_id(scene), objects=tuple(sorted(scene.present)), kind=scene.split
    )


def _asked(held: list[Scene]) -> Iterator[Item]:
    for against in ("random", "partner"):
        for scene, name, truth in questions(held, "random" if against == "random" else "partner"):
            yield Item(
                id=f"{_id(scene)}/{against}/{'yes' if truth else 'no'}",
                image=scene.image,
                image_id=_id(scene),
                question=f"Is there {with_article(name)} in the image?",
                label=truth,
                kind=f"{scene.split}/{against}",
            )


def _id(scene: Scene) -> str:
    return f"{scene.split}-{scene.index}"
