"""A data set with disturbed images: does a method still help where the model sees less?"""

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lvlmscope.attention.option_checks import require_kind
from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["disturbed"]


@checked
@task("disturb the images of a data set")
def disturbed(
    dataset: Dataset,
    *,
    noise: Annotated[float, Range(ge=0)] = 0.0,
    blur: Annotated[float, Range(ge=0)] = 0.0,
    seed: Annotated[int, Range(ge=0)] = 0,
) -> Dataset:
    """The same items with blurred, then noisy images; questions, labels and ids stay.

    Runs on it can be put beside runs on the clean images by `compare_runs`: the items are the same. The noise of an
    image depends on its id and the seed, not on its place, so all rows of an evaluation see the same pixels.

    Args:
        dataset: With images.
        noise: Standard deviation of Gaussian noise on every channel, as a share of the range from black to white.
        blur: Standard deviation of a Gaussian blur, in pixels of the original image.
        seed: Of the noise.

    Returns:
        The data set, its options under `disturbed` in `source`. Images are disturbed when they are opened.

    Raises:
        EvaluationError: Neither noise nor blur, or a data set that was read without images.
    """
    require_kind("dataset", dataset, Dataset, "a Dataset (bundled_dataset and read_dataset give one)")
    if not noise and not blur:
        raise EvaluationError(message("noise=0, blur=0", "one of them above 0", "say how much"))
    if missing := next((item for item in dataset.items if item.image is None), None):
        got = f"item {missing.id} without an image"
        raise EvaluationError(message(got, "the folder of the images", "pass images= when the data set is read"))
    changed = {name: value for name, value in (("blur", blur), ("noise", noise)) if value}
    return replace(
        dataset,
        name="-".join([dataset.name, *(f"{name}{value:g}" for name, value in changed.items())]),
        items=tuple(
            replace(item, image=partial(_opened, item, noise=noise, blur=blur, seed=seed)) for item in dataset.items
        ),
        source={**dataset.source, "disturbed": changed | {"seed": seed}},
    )


def _opened(item: Item, *, noise: float, blur: float, seed: int) -> "Image":
    from PIL import Image, ImageFilter

    image = item.open()
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if not noise:
        return image
    digest = hashlib.sha256(f"{seed}/{item.image_id}".encode()).digest()
    drawn = np.random.default_rng(np.frombuffer(digest, dtype=np.uint64)).normal(
        0.0, 255 * noise, (*image.size[::-1], 3)
    )
    pixels = np.asarray(image, dtype=np.float64) + drawn
    return Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))
