"""Images whose objects are known, in the forms in which they are accepted."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from lvlmscope.errors import EvaluationError, message

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_NEW_TOKENS", "PROMPT", "Example", "known_images"]


@runtime_checkable
class Example(Protocol):
    """An image whose objects are known; the scenes of `lvlmscope.tiny` are such."""

    @property
    def image(self) -> "Image":
        """The image."""
        ...

    @property
    def present(self) -> Collection[str]:
        """Categories in it, in the vocabulary's words."""
        ...


def known_images(examples: Iterable[Example | tuple[Any, Collection[str]]]) -> Iterator[tuple[Any, Collection[str]]]:
    """Images with the objects in them, one by one.

    Args:
        examples: Pairs (image, objects), or objects with `image` and `present`.

    Yields:
        Pairs.

    Raises:
        EvaluationError: An example of another form.

    >>> list(known_images([("a.png", {"cat"})], "look"))
    [('a.png', {'cat'})]
    """
    example: Any
    for number, example in enumerate(examples):
        if isinstance(example, tuple | list) and len(example) == 2 and not isinstance(example[1], str):
            yield example[0], example[1]
        elif hasattr(example, "image") and hasattr(example, "present"):
            yield example.image, example.present
        else:
            got = f"example {number}, {example!r}"[:80]
            expected = "pairs (image, names of the objects in it), or objects with image and present"
            raise EvaluationError(message(got, expected, "give one of these"))


MAX_NEW_TOKENS: Final = 48
PROMPT: Final = "Describe the image."
