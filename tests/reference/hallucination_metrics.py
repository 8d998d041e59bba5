"""Slow twins of CHAIR, POPE, MME and AMBER: plain Python, straight from the papers' definitions."""

from collections.abc import Callable, Sequence
from math import nan

Flags = Sequence[bool]


def chair(named: Sequence[Sequence[str]], truths: Sequence[Sequence[str]]) -> tuple[float, float]:
    """CHAIR_I and CHAIR_S of captions that name these objects (Rohrbach et al. 2018, section 3)."""
    mentions = wrong = captions = 0
    for objects, truth in zip(named, truths, strict=True):
        missing = [name for name in objects if name not in truth]
        mentions += len(objects)
        wrong += len(missing)
        captions += bool(missing)
    return wrong / mentions if mentions else nan, captions / len(named)


def pope(verdicts: Sequence[str], truths: Flags, positive: str = "yes") -> tuple[float, float, float, float]:
    """Accuracy, precision, recall and F1 of an answer (Li et al. 2023, section 4.1); AMBER takes "no" as positive."""
    right = hits = said = there = 0
    for answer, truth in zip(verdicts, truths, strict=True):
        label = "yes" if truth else "no"
        right += answer == label
        said += answer == positive
        there += label == positive
        hits += answer == label == positive
    precision, recall = (hits / said if said else nan), (hits / there if there else nan)
    return right / len(truths), precision, recall, 2 * hits / (said + there) if said + there else nan


def mme(verdicts: Sequence[str], truths: Flags, images: Sequence[str]) -> tuple[float, float]:
    """acc and acc+ (Fu et al. 2023, section 2.2)."""
    right = [answer == ("yes" if truth else "no") for answer, truth in zip(verdicts, truths, strict=True)]
    both = 0
    for image in set(images):
        both += all(one for one, name in zip(right, images, strict=True) if name == image)
    return sum(right) / len(right), both / len(set(images))


def amber(
    nouns: Sequence[Sequence[str]],
    truths: Sequence[Sequence[str]],
    expected: Sequence[Sequence[str]],
    relations: dict[str, list[str]],
    safe: Sequence[str],
    similar: Callable[[str, str], bool],
) -> tuple[float, float, float, float]:
    """CHAIR, Cover, Hal and Cog (Wang et al. 2023, section 3.3, and the order of tests in its published code)."""
    named = wrong = covered = present = trapped = traps = bad = 0
    for words, truth, trap in zip(nouns, truths, expected, strict=True):
        seen: set[int] = set()
        fallen: set[int] = set()
        flags = []
        for noun in words:
            if noun in safe:
                flags.append(False)
                continue
            hit = _first(noun, truth, relations, lambda a, b: a == b)
            if hit is not None:
                seen.add(hit)
                flags.append(False)
                continue
            for test in (lambda a, b: a == b, similar):
                hit = _first(noun, trap, relations, test)
                if hit is not None:
                    fallen.add(hit)
            hit = _first(noun, truth, relations, similar)
            if hit is not None:
                seen.add(hit)
            flags.append(hit is None)
        named += len(flags)
        wrong += sum(flags)
        bad += any(flags)
        covered += len(seen)
        present += len(truth)
        trapped += len(fallen)
        traps += len(trap)
    return (
        wrong / named if named else nan,
        covered / present if present else nan,
        bad / len(nouns),
        trapped / traps if traps else nan,
    )


def _first(
    noun: str, objects: Sequence[str], relations: dict[str, list[str]], test: Callable[[str, str], bool]
) -> int | None:
    """The first object of which a related word passes, then the first that passes itself."""
    for number, name in enumerate(objects):
        for word in relations[name]:
            if test(noun, word):
                return number
    for number, name in enumerate(objects):
        if test(noun, name):
            return number
    return None
