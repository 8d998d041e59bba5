"""What a diagnosis adds to a view: a risk for each judged word, and its blocks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lvlmscope.errors import UnsupportedModelError, first_line
from lvlmscope.explorer.packed_numbers import plain_number
from lvlmscope.risk import Diagnosis, diagnose
from lvlmscope.traces.trace import Trace
from lvlmscope.traces.words import Word

__all__ = ["blocks_of", "diagnosis_of", "risks_of"]


def diagnosis_of(trace: Trace, model: Any = None) -> Diagnosis | None:
    """The diagnosis, None for a trace that has nothing to diagnose: no image keys, or no word.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> diagnosis_of(planted_trace()).calibrated
    False
    """
    if not bool(trace.image_keys.any()) or not "".join(trace.answer_tokens).strip():
        return None
    try:
        return diagnose(trace, model=model)
    except UnsupportedModelError as error:  # its unembedding cannot be read; the diagnosis says so
        plain = diagnose(trace)
        return replace(plain, left_out=(*plain.left_out, f"lens: {first_line(error)}"))


def blocks_of(diagnosis: Diagnosis, words: Sequence[Word]) -> list[dict[str, Any]]:
    """The diagnosis as JSON values: blocks of a title, a note, advice and rows under a header; without the answer.

    Args:
        diagnosis: Of the trace that the words are from.
        words: The answer's words; rows that are of one have its number in `words`.
    """
    at = {step: number for number, word in enumerate(words) for step in word.steps}
    return [
        {
            "title": part.title,
            "note": part.note,
            "advice": part.advice,
            "header": list(part.header),
            "rows": [list(row) for row in part.rows],
            "words": [at[step] for step in part.steps],
        }
        for part in diagnosis.blocks()
        if part.title != "answer"
    ]


def risks_of(diagnosis: Diagnosis, words: tuple[Word, ...]) -> list[float | None]:
    """Each word's risk, the highest where it contains several judged words; None for a word that was not judged.

    Args:
        diagnosis: Of the trace that the words are from.
        words: The answer's words.
    """
    found = []
    for word in words:
        risks = [judged.risk for judged in diagnosis.words if set(judged.steps) & set(word.steps)]
        finite = [risk for risk in risks if np.isfinite(risk)]
        found.append(plain_number(max(finite)) if finite else None)
    return found
