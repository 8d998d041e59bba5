"""Parts of a caption that may be left out of CHAIR: what it denies, and a last sentence that was cut off."""

import re
from typing import Final

from icu4py.breakers import SentenceBreaker

__all__ = ["complete_length", "is_denied"]

_SENTENCE_END: Final = re.compile(r"[.!?…。！？．｡।॥؟۔][\"'”’»)\]*_\s]*$")
_CLAUSE_END: Final = re.compile(
    r"[.!?;:…。！？\n]|\b(?:but|however|although|though|instead|except|while|only)\b"
    r"|\band (?:a|an|the|one|two|three|some|there|it|he|she|they|is|are)\b",
    re.IGNORECASE,
)
_LIST_END: Final = re.compile(r",(?!(?:\s*[\w'’-]+){1,3}\s*(?:,|\b(?:or|nor)\b)|\s*(?:or|nor)\b)", re.IGNORECASE)
_DENIAL: Final = re.compile(
    r"\b(?:no(?! (?:doubt|longer than))|not(?! only)|without|never|neither|nor|none|cannot|lacks?|lacking|absence of"
    r"|absent|\w+n['’]t)\b(?!,)",
    re.IGNORECASE,
)


def is_denied(text: str, start: int) -> bool:
    """Whether a word of an English caption is said not to be there: a negation stands before it in its clause.

    Lists stay denied to their "or" ("no dogs, cats or birds"); "but", "while" and "and a" begin anew.

    Args:
        start: First character of the word.

    Examples:
        >>> text = "There is no dog or cat, but a cow."
        >>> [is_denied(text, text.index(word)) for word in ("dog", "cat", "cow")]
        [True, True, False]
    """
    clause = text[:start]
    for end in _CLAUSE_END.finditer(clause):
        clause = text[end.end() : start]
    negations = list(_DENIAL.finditer(clause))
    if not negations:
        return False
    after = start - len(clause) + negations[-1].end()
    rest = text[after:]
    return not any(after + comma.start() < start for comma in _LIST_END.finditer(rest))


def complete_length(text: str) -> int:
    """Characters of a caption up to the end of its last finished sentence; all of a caption without any.

    Examples:
        >>> text = "A dog sits. Beside it a ca"
        >>> text[: complete_length(text)]
        'A dog sits. '
        >>> complete_length("A dog on a couch") == len("A dog on a couch")
        True
    """
    sentences = list(SentenceBreaker(re.sub(r"[\ud800-\udfff]", "\ufffd", text), "en"))
    while sentences and not sentences[-1].strip():
        sentences.pop()
    if len(sentences) < 2 or _SENTENCE_END.search(sentences[-1]):
        return len(text)
    return sum(map(len, sentences[:-1]))
