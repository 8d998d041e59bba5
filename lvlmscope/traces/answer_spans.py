"""The spans of a reasoning model's answer as a trace's provenance keeps them: thinking, final answer, markers."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal, get_args

__all__ = ["SPANS", "Markers", "Span", "record_of", "recorded_spans"]

Span = Literal["thinking", "answer", "marker"]
SPANS: Final[tuple[Span, ...]] = get_args(Span)
Markers = tuple[str, str]
_RECORD: Final = "answer_spans"


def record_of(spans: Sequence[Span], markers: Markers) -> dict[str, Any]:
    """What a trace's provenance keeps of its spans, as JSON values.

    >>> record_of(("marker", "thinking", "thinking"), ("<t>", "</t>"))
    {'answer_spans': {'markers': ['<t>', '</t>'], 'runs': [['marker', 1], ['thinking', 2]]}}
    """
    runs = [[name, len(list(each))] for name, each in groupby(spans)]
    return {_RECORD: {"markers": list(markers), "runs": runs}}


def recorded_spans(provenance: Mapping[str, Any], steps: int) -> tuple[Span, ...] | None:
    """The span of each step that a trace's provenance tells; None where it tells none of as many steps.

    Args:
        provenance: A trace's.
        steps: Its steps.

    >>> recorded_spans(record_of(("marker", "thinking"), ("<t>", "</t>")), 2), recorded_spans({}, 2)
    (('marker', 'thinking'), None)
    """
    runs = provenance.get(_RECORD, {}).get("runs", ())
    spans = tuple(name for name, count in runs for _ in range(count))
    return spans if spans and len(spans) == steps else None
