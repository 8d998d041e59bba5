"""Spans of an answer for a trace whose model declares no markers, or others than it uses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.inputs.thinking_markers import declared_markers, recorded_answer
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.traces.answer_spans import record_of
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.span_search import require_markers, spans_in
from lvlmscope.traces.trace import Trace

__all__ = ["label_spans"]


@checked
@task("label the spans of an answer")
def label_spans(
    trace: Trace, markers: Sequence[str] | None = None, *, processor: Any = None, opened: bool | None = None
) -> Trace:
    """The trace with the spans of its answer: what the model thinks, its final answer, and the markers.

    `trace` does this by itself where the model's tokenizer or chat template declares one pair of markers. The spans are
    then the coordinate `span` of every signal with steps, and `aggregate(..., by="span")` reads it.

    Args:
        markers: The texts that open and close what is thought, such as `("<think>", "</think>")`; None for those that
            the processor declares.
        processor: The model's; needed for markers that are special tokens, which an answer's text lacks.
        opened: Whether what is thought began in the prompt; None: whether the prompt ends with the opening marker.

    Returns:
        A trace that shares its tensors with the given one.

    Raises:
        ModelInputError: No markers and none declared, no pair of texts, or a closing marker that nothing opened.

    >>> from lvlmscope.diagnostics import planted_trace
    >>> label_spans(planted_trace(steps=5), (" word0", " word2")).spans
    ('marker', 'thinking', 'marker', 'answer', 'answer')
    """
    traced = require_trace(trace)
    pair = declared_markers(processor) if markers is None else require_markers(markers)
    if pair is None:
        got = "a processor that declares no markers, or several" if processor is not None else "no markers"
        raise ModelInputError(message(got, "the texts around what the model thinks", "pass markers=('<think>', ...)"))
    if processor is not None:
        ids = traced.answer_ids.tolist()
        record = recorded_answer(ids, processor, traced.prompt_text, markers=pair, opened=opened)
    else:
        begun = traced.prompt_text.rstrip().endswith(pair[0]) if opened is None else opened
        record = record_of(spans_in(traced.answer_tokens, pair, opened=begun), pair)
    return replace(traced, provenance=traced.provenance | record)
