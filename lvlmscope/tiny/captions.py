"""Texts about a scene: captions of two to four sentences, short ones, and questions with their answers."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from lvlmscope.tiny.world import CATEGORIES, PARTNER, PLACES, SYNONYMS, counted, plural, with_article

__all__ = [
    "DESCRIBE",
    "DESCRIBE_SHORT",
    "MIN_WORDS",
    "count_question",
    "describe",
    "describe_short",
    "probe",
    "where",
    "where_question",
]

Box = tuple[int, int, int, int]
MIN_WORDS: Final = 15
SYNONYM_RATE: Final = 0.15
DESCRIBE: Final = (
    "Describe the image.",
    "Describe the picture.",
    "Describe this image in detail.",
    "What do you see?",
    "What is in the image?",
    "Tell me about this picture.",
    "Write a caption for the image.",
)
DESCRIBE_SHORT: Final = (
    "Describe the image in one sentence.",
    "Describe the picture briefly.",
    "Write a short caption.",
)
_PROBES: Final = (
    "Is there {} in the image?",
    "Can you see {}?",
    "Does the picture show {}?",
    "Is there {} in this picture?",
)
_OPENINGS: Final = (
    "The image shows {what} {place}.",
    "The picture shows {what} {place}.",
    "There {is_are} {what} {place}.",
    "We see {what} {place}.",
    "This is a picture of {what} {place}.",
)
_MORE: Final = (
    "There {is_are} also {what} {where}.",
    "{What} can be seen {where}.",
    "{Where}, there {is_are} {what}.",
    "I can also see {what} {where}.",
)
_NEAR: Final = ("Next to the {other}, there {is_are} {what}.", "Near the {other} we find {what}.")
_CLOSINGS: Final = (
    "The scene looks calm and bright.",
    "It looks like a nice day.",
    "The colours are soft and the light is even.",
    "Nothing else stands out in this scene.",
    "It is a simple and quiet scene.",
    "The background is plain and a little blurred.",
    "The whole scene feels warm and friendly.",
)


def where(box: Box, side: int = 112) -> str:
    """The place of a box in the image, in words.

    >>> where((0, 40, 20, 60)), where((80, 80, 110, 110))
    ('on the left', 'at the bottom right')
    """
    column = ("left", "", "right")[min(2, (box[0] + box[2]) * 3 // (2 * side))]
    row = ("top", "", "bottom")[min(2, (box[1] + box[3]) * 3 // (2 * side))]
    if not column and not row:
        return "in the middle"
    return f"at the {row} {column}".rstrip() if row else f"on the {column}"


def _named(rng: np.random.Generator, name: str) -> str:
    if name in SYNONYMS and rng.random() < SYNONYM_RATE:
        return str(rng.choice(SYNONYMS[name]))
    return name


def _kinds(objects: Sequence[str]) -> list[tuple[str, int]]:
    """Categories with their counts, first mention first; partners side by side, as people mention them."""
    counts = Counter(objects)
    order: list[str] = []
    for name in counts:
        for one in (name, PARTNER.get(name, name)):
            if one in counts and one not in order:
                order.append(one)
    return [(name, counts[name]) for name in order]


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def describe(rng: np.random.Generator, objects: Sequence[str], boxes: Sequence[Box], setting: str) -> str:
    """Two to four sentences, 15 to 40 words, that name every object once and nothing else."""
    kinds = _kinds(objects)
    together = 2 if len(kinds) > 3 or (len(kinds) > 1 and rng.random() < 0.6) else 1
    head, rest = kinds[:together], kinds[together:]
    what = _joined([counted(_named(rng, name), count) for name, count in head])
    sentences = [
        str(rng.choice(_OPENINGS)).format(what=what, is_are=_is_are(head[0][1]), place=rng.choice(PLACES[setting]))
    ]
    while rest:
        group, rest = (rest[:2], rest[2:]) if len(rest) > 2 else (rest[:1], rest[1:])
        sentences.append(_more(rng, group, objects, boxes, previous=head[0]))
        head = group
    closings = iter(rng.permutation(_CLOSINGS))
    while len(sentences) < 2 or sum(len(s.split()) for s in sentences) < MIN_WORDS:
        sentences.append(str(next(closings)))
    if len(sentences) < 4 and sum(len(s.split()) for s in sentences) < 30 and rng.random() < 0.3:
        sentences.append(str(next(closings)))
    return " ".join(sentences)


def _more(
    rng: np.random.Generator,
    group: list[tuple[str, int]],
    objects: Sequence[str],
    boxes: Sequence[Box],
    *,
    previous: tuple[str, int],
) -> str:
    """A further sentence; a place is given only for a single object, where it is exact."""
    what = _joined([counted(_named(rng, name), count) for name, count in group])
    if len(group) == 1 and group[0][1] == 1 and (previous[1] > 1 or rng.random() < 0.6):
        place = where(boxes[objects.index(group[0][0])])
        return str(rng.choice(_MORE)).format(
            what=what, What=_capital(what), is_are="is", where=place, Where=_capital(place)
        )
    other = previous[0] if previous[1] == 1 else plural(previous[0])
    return str(rng.choice(_NEAR)).format(what=what, is_are=_is_are(group[0][1]), other=other)


def describe_short(rng: np.random.Generator, objects: Sequence[str], setting: str) -> str:
    """One sentence that names every object."""
    kinds = _kinds(objects)
    what = _joined([counted(_named(rng, name), count) for name, count in kinds])
    return f"{_capital(what)} {rng.choice(PLACES[setting])}."


def probe(rng: np.random.Generator, name: str, present: bool) -> tuple[str, str]:
    """A yes/no question about one category, and its answer."""
    question = str(rng.choice(_PROBES)).format(with_article(name))
    return question, f"Yes, there is {with_article(name)}." if present else f"No, there is no {name}."


def count_question(rng: np.random.Generator, objects: Sequence[str]) -> tuple[str, str]:
    """How many of one present kind there are, and the answer."""
    counts = Counter(objects)
    name = str(rng.choice(sorted(counts)))
    return f"How many {plural(name)} are there?", f"There {_is_are(counts[name])} {_numbered(name, counts[name])}."


def _numbered(name: str, count: int) -> str:
    return f"one {name}" if count == 1 else counted(name, count)


def where_question(rng: np.random.Generator, objects: Sequence[str], boxes: Sequence[Box]) -> tuple[str, str]:
    """Where one object is, and the answer; when every kind repeats, a question about their number instead."""
    single = [name for name, count in Counter(objects).items() if count == 1]
    if not single:
        return count_question(rng, objects)
    name = str(rng.choice(single))
    return f"Where is the {name}?", f"The {name} is {where(boxes[objects.index(name)])}."


def negatives(rng: np.random.Generator, present: frozenset[str], kind: str) -> list[str]:
    """Absent categories: `"random"` over all, or `"partner"`: those that usually come with what is present."""
    if kind == "partner":
        return sorted({PARTNER[name] for name in present if name in PARTNER} - present)
    return [str(name) for name in rng.permutation([name for name in CATEGORIES if name not in present])]
