"""Prepared inputs traced: the trace of a single sample, a list of a batch."""

from typing import Any

import lvlmscope as lv


def from_inputs(model: Any, inputs: Any, **options: Any) -> Any:
    """What `lvlmscope.trace_inputs` gives, without the list around one trace."""
    found = lv.trace_inputs(model, inputs, **options)
    return found[0] if len(found) == 1 else found
