"""Images whose objects are known, in the forms in which they are accepted."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from lvlmscope import tiny
from lvlmscope.attention.option_checks import each_of
from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary, vocabulary
from lvlmscope.models.loaded_model import unwrap

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_NEW_TOKENS", "PROMPT", "Example", "known_images", "known_vocabulary"]


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
        ModelInputError: Nothing that holds examples.

    >>> list(known_images([("a.png", {"cat"})]))
    [('a.png', {'cat'})]
    """
    example: Any
    expected = "pairs (image, names of the objects in it), or objects with image and present"
    for number, example in enumerate(each_of("examples", examples, expected)):
        if isinstance(example, tuple | list) and len(example) == 2 and not isinstance(example[1], str):
            yield example[0], example[1]
        elif hasattr(example, "image") and hasattr(example, "present"):
            yield example.image, example.present
        else:
            got = f"example {number}, {example!r}"[:80]
            raise EvaluationError(message(got, expected, "give one of these"))


def known_vocabulary(model: Any, words: Vocabulary | None) -> Vocabulary:
    """The vocabulary given; without one that of the bundled world, for the bundled model alone.

    Args:
        model: What `load` gave, or a bare model.
        words: Which words name which object.

    Returns:
        The vocabulary.

    Raises:
        EvaluationError: No vocabulary for another model than the bundled one, or an object of another type.
    """
    if isinstance(words, Vocabulary):
        return words
    expected, fix = "a Vocabulary", "pass words=lvlmscope.evaluation.Vocabulary({'dog': ['dog', 'puppy'], ...})"
    if words is not None:
        raise EvaluationError(message(f"words of type {type(words).__name__}", expected, fix))
    name = str(getattr(unwrap(model), "name_or_path", ""))
    if name != str(tiny.path("model")):
        raise EvaluationError(message(f"no words= for {name or 'a model without a name'}", expected, fix))
    return vocabulary()


MAX_NEW_TOKENS: Final = 48
PROMPT: Final = "Describe the image."
