"""Which words of a text name an object of which category."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from lvlmscope.errors import EvaluationError, message, task
from lvlmscope.evaluation.metrics.caption_parts import complete_length, is_denied
from lvlmscope.evaluation.metrics.plurals import plural_forms
from lvlmscope.evaluation.metrics.text_tokens import TextTokens, text_tokens
from lvlmscope.tiny.world import vocabulary_words
from lvlmscope.traces.validated_json import json_digest

__all__ = ["Mention", "Shared", "Vocabulary", "require_vocabulary", "vocabulary"]

Shared = Literal["refuse", "first", "last", "all"]
_BUILD: Final = "build a vocabulary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One object word in a text.

    Attributes:
        category: The category that the word stands for.
        start: First character of the word.
        end: One past its last character.
        also: Further categories that it may stand for, where a word was given to several.
    """

    category: str
    start: int
    end: int
    also: tuple[str, ...] = field(default=(), repr=False)

    def is_present(self, present: Collection[str]) -> bool:
        """Whether one of the word's categories is among those in an image.

        Args:
            present: Categories in the image.
        """
        return self.category in present or any(name in present for name in self.also)


class Vocabulary:
    """Which words stand for which category; longer words win, so that a "teddy bear" is no "bear".

    Letter case, typographic signs and vowel points do not count. A space in a word of several parts is any run of
    blanks, line breaks and hyphens in a text. Words inside longer words ("man-eating") name nothing. In scripts
    without spaces ICU's dictionary says where words end; a word of two or more Han characters is found anywhere.

    Args:
        words: Surface forms of each category, the category's own name among them where it is one. Forms of the
            category `""` name nothing: with `{"": ["hot dog stand"]}` that is no hot dog.
        plurals: Whether the English plurals of all forms count as forms, irregular ones included.
        shared: What to do with a form of several categories: `"refuse"` it, keep the `"first"` or the `"last"`
            category, or `"all"`; then a mention is hallucinated only if none of its categories is in the image.
        unless: Forms that name nothing in a text where one of the listed forms stands: `{"seat": ["toilet"]}`.

    Raises:
        EvaluationError: No mapping of words, a category without forms, a text where a list of forms is expected, an
            empty form, or a form of two categories.

    Examples:
        >>> words = Vocabulary({"bear": ["bear"], "teddy bear": ["teddy bear"]})
        >>> words.mentions("Two Teddy-bears.")
        [Mention(category='teddy bear', start=4, end=15)]
    """

    @task(_BUILD)
    def __init__(
        self,
        words: Mapping[str, Collection[str]],
        *,
        plurals: bool = True,
        shared: Shared = "refuse",
        unless: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        if shared not in get_args(Shared):
            raise EvaluationError(message(f"shared={shared!r}", ", ".join(get_args(Shared)), "choose one"))
        given = list(_checked(words))
        found: dict[tuple[str, ...], list[str]] = {}
        for category, form in given:
            _add(found, _key(form), category, form, shared)
        derived: dict[tuple[str, ...], list[str]] = {}
        for key, categories in found.items():
            for plural in _with_plurals(key, plurals)[1:]:
                for category in categories if plural not in found else ():
                    _add(derived, plural, category, "".join(plural), shared)
        self._forms = {key: tuple(kept) for key, kept in (found | derived).items()}
        self._unless: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for form, other in _checked(unless) if unless else ():
            others = _with_plurals(_key(other), plurals)
            for key in _with_plurals(_key(form), plurals):
                self._unless.setdefault(key, set()).update(others)
        lengths: dict[str, set[int]] = {}
        for key in self._forms:
            lengths.setdefault(key[0], set()).add(len(key) // 2 + 1)
        self._lengths = {first: sorted(counts, reverse=True) for first, counts in lengths.items()}

    def __repr__(self) -> str:
        """Counts of categories and forms."""
        return f"Vocabulary({len(self.categories)} categories, {len(self._forms)} forms)"

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the order given; `""` is none."""
        names = dict.fromkeys(name for kept in self._forms.values() for name in kept)
        return tuple(name for name in names if name)

    @property
    def forms(self) -> dict[str, tuple[str, ...]]:
        """All words of each category, plurals included, in lower case; those that name nothing under `""`."""
        found: dict[str, list[str]] = {}
        for key, kept in self._forms.items():
            for name in kept:
                found.setdefault(name, []).append("".join(key))
        return {name: tuple(forms) for name, forms in found.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all forms with their categories and what excludes them: two with the same one find the same."""
        excluded = [[list(key), sorted(map(list, others))] for key, others in self._unless.items()]
        return json_digest([sorted([list(key), list(kept)] for key, kept in self._forms.items()), sorted(excluded)])

    def mentions(self, text: str, *, skip_denied: bool = False, skip_cut_sentence: bool = False) -> list[Mention]:
        """Every object word of a text, in order.

        Args:
            skip_denied: Leave out objects that the caption says are not there ("no dog", "without a dog", English).
            skip_cut_sentence: Leave out those of a last sentence that was cut off.

        Raises:
            EvaluationError: Not a text.

        Examples:
            >>> Vocabulary({"bear": ["bear"], "teddy bear": ["teddy bear"]}).mentions("A teddy bear.")
            [Mention(category='teddy bear', start=2, end=12)]
        """
        _require_text(text)
        found = list(self._named(text_tokens(text)))
        if skip_cut_sentence:
            end = complete_length(text)
            found = [mention for mention in found if mention.end <= end]
        return [mention for mention in found if not (skip_denied and is_denied(text, mention.start))]

    def _named(self, tokens: TextTokens) -> Iterator[Mention]:
        known: list[tuple[tuple[str, ...], int, int]] = []
        place = 0
        while place < len(tokens.words):
            for count in self._lengths.get(tokens.words[place], ()):
                key = tokens.key(place, count) if place + count <= len(tokens.words) else ()
                if key in self._forms and tokens.is_whole(place, count):
                    known.append((key, place, count))
                    place += count - 1
                    break
            place += 1
        present = {key for key, _, _ in known} if self._unless else set()
        for key, first, count in known:
            category, *also = self._forms[key]
            if category and not (self._unless and present & self._unless.get(key, set())):
                start, end = tokens.span(first, count)
                yield Mention(category=category, start=start, end=end, also=tuple(also))


def _require_text(given: Any) -> None:
    if not isinstance(given, str):
        got = f"{type(given).__name__} {given!r}"[:80]
        raise EvaluationError(message(got, "a text", "pass one caption", task="find object words"))


def _checked(words: Any) -> Iterator[tuple[str, str]]:
    """Pairs of category and form."""
    if not isinstance(words, Mapping):
        expected = "categories with a list of forms each"
        raise EvaluationError(message(f"{words!r}"[:80], expected, "pass {'dog': ['dog', 'puppy']}"))
    if not words:
        raise EvaluationError(message("no words", "at least one word", "name the categories"))
    for category, forms in words.items():
        if isinstance(forms, str | bytes) or not isinstance(forms, Iterable):
            fix = f"write {{{category!r}: [{forms!r}]}}"
            raise EvaluationError(message(f"{forms!r} for {category!r}", "a list of forms", fix))
        listed = list(forms)
        if not isinstance(category, str) or not listed:
            got = f"category {category!r} with {len(listed)} forms"
            raise EvaluationError(message(got, "a name with one form or more", "list its words, or leave it out"))
        for form in listed:
            if not isinstance(form, str) or not _key(form):
                got = f"the form {form!r} for {category!r}"
                raise EvaluationError(message(got, "a text with letters, digits or symbols", "leave it out"))
            yield category, form


def _key(form: str) -> tuple[str, ...]:
    tokens = text_tokens(form)
    return tokens.key(0, len(tokens.words)) if tokens.words else ()


def _with_plurals(key: tuple[str, ...], plurals: bool) -> list[tuple[str, ...]]:
    """A form, then its plurals."""
    return [key, *((*key[:-1], last) for last in (plural_forms(key[-1]) if plurals else ()))]


def _add(
    found: dict[tuple[str, ...], list[str]], key: tuple[str, ...], category: str, form: str, shared: Shared
) -> None:
    known = found.setdefault(key, [category])
    if category in known:
        return
    if shared == "refuse":
        got = f"{form!r} for {known[0]!r} and {category!r}"
        raise EvaluationError(message(got, "one category for a word", "drop one, or pass shared='all'"))
    if shared != "first":
        found[key] = [category] if shared == "last" else [*known, category]


def require_vocabulary(given: Any) -> Vocabulary:
    """A vocabulary as it is; anything else is refused with what to pass.

    Args:
        given: What should be a vocabulary.

    Raises:
        EvaluationError: A dictionary or something else.
    """
    if isinstance(given, Vocabulary):
        return given
    fix = "wrap it: Vocabulary(words)" if isinstance(given, Mapping) else "pass lvlmscope.evaluation.Vocabulary(...)"
    raise EvaluationError(message(f"a {type(given).__name__} for the vocabulary", "a Vocabulary", fix))


def vocabulary() -> Vocabulary:
    """The words of the bundled model's world, synonyms and plurals among them."""
    return Vocabulary(vocabulary_words())
