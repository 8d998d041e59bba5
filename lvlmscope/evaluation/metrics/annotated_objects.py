"""AMBER's annotated objects of one image, and which nouns of a description name them."""

from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["AnnotatedObjects", "is_hallucinated"]


class AnnotatedObjects:
    """Annotated objects of one image; the `find_...` methods record which of them were named."""

    def __init__(
        self,
        names: list[str],
        relations: Mapping[str, Collection[str]],
        similar: Callable[[str, str], bool] | None,
    ) -> None:
        """Nothing is named yet.

        Args:
            names: The objects.
            relations: Words related to each.
            similar: Whether two words mean much the same; None for equality alone.
        """
        related = [(word, number) for number, name in enumerate(names) for word in relations[name]]
        self.words = [*related, *((name, number) for number, name in enumerate(names))]
        self.similar = similar
        self.found: set[int] = set()

    def find_equal(self, noun: str) -> bool:
        """Whether a noun is an object, or a word related to one; it counts as named then."""
        return self._find_first(number for word, number in self.words if word == noun)

    def find_similar(self, noun: str) -> bool:
        """Whether a noun is similar to one of these words; its object counts as named then."""
        similar = self.similar
        return similar is not None and self._find_first(number for word, number in self.words if similar(noun, word))

    def _find_first(self, numbers: Iterable[int]) -> bool:
        first = next(iter(numbers), None)
        if first is not None:
            self.found.add(first)
        return first is not None


def is_hallucinated(noun: str, right: AnnotatedObjects, wrong: AnnotatedObjects, safe_words: Collection[str]) -> bool:
    """Whether a noun names nothing that is in the image.

    Args:
        noun: As the description has it.
        right: Objects of the image.
        wrong: Objects that people would expect wrongly.
        safe_words: Words that are never hallucinated.
    """
    if noun in safe_words or right.find_equal(noun):
        return False
    wrong.find_equal(noun)
    wrong.find_similar(noun)
    return not right.find_similar(noun)
