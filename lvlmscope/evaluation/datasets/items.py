"""What is evaluated: items with an image and what is known of it, and data sets of them."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from lvlmscope.errors import EvaluationError, ImageInputError, message
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.traces.image_identity import read_images

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["METRICS", "Dataset", "Item", "Metric", "image_groups"]

_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
Metric = Literal["chair", "pope", "mme", "amber"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)


def half_a_character(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, as JSON may, so that no file can hold it.

    >>> half_a_character("café"), half_a_character(chr(0xD83D))
    (False, True)
    """
    return _SURROGATES.search(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """One image with what is asked and what is known.

    Attributes:
        id: Its id, unique in its data set.
        image: A path, a PIL image, encoded bytes, or a function without arguments that gives one of these; None where
            the data set was read without images.
        image_id: Which image it is; several questions may share one.
        question: What is asked; empty for the prompt of the evaluation.
        objects: Categories in the image; None for a yes/no question.
        label: The right answer of a yes/no question; None for a description.
        expected: Objects that are annotated as wrongly expected (AMBER).
        kind: Type of the question or split of the image; empty where there is one only.
        conversation: Which conversation it is a turn of; empty for an item that is asked alone.
        turn: Which turn of it, from 1; the model then sees the turns before and its own answers.
        place: Where it was read, for messages: file and row.
    """

    id: str
    image: Any
    image_id: str
    question: str = ""
    objects: tuple[str, ...] | None = None
    label: bool | None = None
    expected: tuple[str, ...] = ()
    kind: str = ""
    conversation: str = ""
    turn: int = 1
    place: str = ""

    def open(self) -> "Image":
        """The image, RGB and upright.

        Raises:
            ImageInputError: It is missing or does not open; the message names file and row.
        """
        if self.image is None:
            got, expected = f"{self.place or self.id} without an image", "the folder of the images"
            raise ImageInputError(message(got, expected, "pass images=", task="open an item's image"))
        try:
            return read_images(self.image() if callable(self.image) else self.image)[0]
        except ImageInputError as error:
            raise ImageInputError(f"{self.place or f'item {self.id}'}: {error}") from error


def image_groups(items: Sequence[Item]) -> np.ndarray:
    """Number of each item's image, 0, 1, ... in order of appearance, int64 [item].

    Args:
        items: Items, of which several may share an image.
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(item.image_id, len(numbers)) for item in items], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Items that are scored together.

    Attributes:
        name: What it is called in tables.
        metric: How it is scored, unless the evaluation says otherwise.
        items: The items, in order.
        vocabulary: Which words name which object, for CHAIR.
        relations: Words related to each object, for AMBER.
        safe_words: Words that are never hallucinated, for AMBER.
        max_new_tokens: Length allowed to each answer, unless the evaluation says otherwise.
        source: Files and options it was made from (JSON values).

    Raises:
        EvaluationError: No items, two of one id, or a text with half a character.
    """

    name: str
    metric: Metric
    items: tuple[Item, ...]
    vocabulary: Vocabulary | None = None
    relations: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    safe_words: tuple[str, ...] = field(default=(), repr=False)
    max_new_tokens: int = 16
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that there are items and that their ids are unique."""
        doing = f"read the data set {self.name}"
        if not self.items:
            raise EvaluationError(message("no items", "one or more", "check the files", task=doing))
        seen: dict[str, Item] = {}
        for item in self.items:
            if (first := seen.setdefault(item.id, item)) is not item:
                got = f"id {item.id} twice: {first.place or 'an item'} and {item.place or 'another'}"
                raise EvaluationError(message(got, "every id once", "remove or rename one", task=doing))
            for name in ("id", "image_id", "question", "kind"):
                if half_a_character(getattr(item, name)):
                    got = f"{item.place or 'an item'}: {getattr(item, name)!r:.80} as {name}"
                    fix = "a surrogate without its other half cannot be written: correct the text"
                    raise EvaluationError(message(got, "Unicode text", fix, task=doing))

    def __repr__(self) -> str:
        """Name, metric, counts."""
        images = len({item.image_id for item in self.items})
        return f"Dataset({self.name!r}, {self.metric}, {len(self.items)} items, {images} images)"

    def __len__(self) -> int:
        """The count of items."""
        return len(self.items)

    @property
    def image_groups(self) -> np.ndarray:
        """Number of each item's image, 0, 1, ... in order of appearance, int64 [item]."""
        return image_groups(self.items)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of ids, questions, labels and objects: two runs with the same one asked and scored the same."""
        scored = [
            [i.id, i.image_id, i.question, i.label, sorted(i.objects or ()), sorted(i.expected), i.kind]
            for i in self.items
        ]
        return hashlib.sha256(json.dumps(scored, ensure_ascii=True).encode()).hexdigest()

    def sample(self, images: int, seed: int = 0) -> "Dataset":
        """All items of some images, drawn without replacement; the order stays.

        Args:
            images: Number of images.
            seed: Of the draw.

        Returns:
            The smaller data set; the same one where it has no more images than that.

        Raises:
            EvaluationError: Fewer than one image.
        """
        groups = self.image_groups
        count = int(groups.max()) + 1
        if images < 1:
            raise EvaluationError(message(f"{images} images", "1 or more", "draw some", task="sample a data set"))
        if images >= count:
            return self
        chosen = set(np.random.default_rng(seed).choice(count, images, replace=False).tolist())
        kept = tuple(item for item, group in zip(self.items, groups.tolist(), strict=True) if group in chosen)
        return replace(self, items=kept, source={**self.source, "sampled_images": images, "sample_seed": seed})

    def check_images(self) -> None:
        """Opens every image once, so that a damaged one is found before a model runs.

        Raises:
            ImageInputError: One is missing or does not open; the message names file and row.
        """
        seen: set[str] = set()
        for item in self.items:
            if item.image_id not in seen:
                item.open()
                seen.add(item.image_id)

    @property
    def kinds(self) -> dict[str, int]:
        """How many items of each kind."""
        return dict(Counter(item.kind for item in self.items))
