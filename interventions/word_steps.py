"""What rows or states of hallucinated words have more of than those of grounded ones, on average over traces."""

from collections.abc import Callable, Collection, Sequence

import torch
from jaxtyping import Float

from lvlmscope.errors import InterventionError, message
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["difference_of_means"]


def difference_of_means(
    traces: Sequence[Trace],
    read: Callable[[Trace], Float[torch.Tensor, "step *value"]],
    *,
    hallucinated: Sequence[Collection[int]],
    grounded: Sequence[Collection[int]],
) -> Float[torch.Tensor, "*value"]:
    """Mean over the steps of hallucinated words, minus that over the steps of grounded ones, in float64.

    Args:
        traces: Answers of one model.
        read: Values of each step of a trace.
        hallucinated: Steps of hallucinated words, for each trace.
        grounded: Steps of grounded words, for each trace.

    Returns:
        One value for each that `read` gives of a step.

    Raises:
        InterventionError: Another number of lists than of traces, a step that an answer does not have, no word of one
            kind, or traces of different shapes.
        ModelInputError: An object among the traces that is not a trace.
    """
    if not len(traces) == len(hallucinated) == len(grounded):
        got = f"{len(traces)} traces, {len(hallucinated)} and {len(grounded)} lists of steps"
        raise InterventionError(message(got, "one list of each kind for a trace", "give equal numbers"))
    return _mean(traces, read, hallucinated, "hallucinated") - _mean(traces, read, grounded, "grounded")


def _mean(
    traces: Sequence[Trace],
    read: Callable[[Trace], Float[torch.Tensor, "step *value"]],
    steps: Sequence[Collection[int]],
    kind: str,
) -> Float[torch.Tensor, "*value"]:
    found = []
    for trace, chosen in zip(traces, steps, strict=True):
        values = read(require_trace(trace))
        if outside := [step for step in chosen if not 0 <= step < trace.num_steps]:
            got, expected = f"step {outside[0]}", f"steps 0 to {trace.num_steps - 1} of that answer"
            raise InterventionError(message(got, expected, "take the steps of label_words"))
        if chosen:
            found.append(values[sorted(chosen)].double())
    if not found:
        fix = "give traces of answers with both kinds"
        raise InterventionError(message(f"no {kind} word", "words of both kinds", fix))
    shapes = {tuple(each.shape[1:]) for each in found}
    if len(shapes) > 1:
        got = f"traces of different shapes, {' and '.join(map(str, sorted(shapes)))}"
        raise InterventionError(message(got, "traces of one model", "leave the others out"))
    return torch.cat(found).mean(0)
