"""English plurals of names of objects."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pluralizer import Pluralizer

__all__ = ["plural_forms"]


def plural_forms(word: str) -> tuple[str, ...]:
    """The plurals of an English word, the regular one also where there is an irregular one.

    Args:
        word: In lower case, singular; a plural is its own; text that is not a word too.

    Returns:
        Other words than the given one; none for a word that is not in Latin letters.

    Examples:
        >>> plural_forms("knife"), plural_forms("person"), plural_forms("sheep")
        (('knives', 'knifes'), ('people', 'persons'), ('sheeps',))
        >>> plural_forms("猫")
        ()
    """
    if not (word.isascii() and word.isalpha() and len(word) > 1):
        return ()
    found = dict.fromkeys((str(_pluralizer().plural(word)), *_regular(word)))
    return tuple(plural for plural in found if plural != word)


def _regular(word: str) -> tuple[str, ...]:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return (word + "es",)
    if word.endswith("y") and word[-2] not in "aeiou":
        return (word[:-1] + "ies",)
    return (word + "s", word + "es") if word.endswith("o") else (word + "s",)


@cache
def _pluralizer() -> "Pluralizer":
    from pluralizer import Pluralizer

    return Pluralizer()
