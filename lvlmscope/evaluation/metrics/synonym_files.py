"""Reading the published list of synonyms of CHAIR."""

import os

from lvlmscope.errors import EvaluationError, first_line, message, task
from lvlmscope.evaluation.metrics.coco import with_chair_rules
from lvlmscope.evaluation.metrics.vocabulary import Vocabulary
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of

__all__ = ["chair_synonyms", "read_text"]


@checked
@task("read CHAIR's synonyms")
def chair_synonyms(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file of synonyms in CHAIR's format, with CHAIR's rules for compounds (`coco_vocabulary`).

    A line is one category: its name, then its synonyms, separated by commas. Of a word in several lines the last one
    counts, as in the published code.

    Args:
        path: `synonyms.txt` of the published code, or one like it.

    Returns:
        The vocabulary.

    Raises:
        EvaluationError: No such file, not UTF-8, or no line with words.
    """
    lines = [[part.strip() for part in line.split(",")] for line in read_text(path).splitlines()]
    words: dict[str, list[str]] = {}
    for parts in lines:
        forms = [form for form in parts if form]
        if forms:
            words.setdefault(forms[0], []).extend(dict.fromkeys(forms))
    if not words:
        expected = "lines such as 'dog, puppy, beagle'"
        raise EvaluationError(message(f"{os.fspath(path)} without a word", expected, "check the path"))
    return with_chair_rules(words)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a published file.

    Raises:
        EvaluationError: No such file, or not UTF-8.
    """
    try:
        return path_of(path, EvaluationError).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(message(first_line(error), "a text file in UTF-8", "check the path")) from error
