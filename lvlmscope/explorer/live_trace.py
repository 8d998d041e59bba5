"""A trace made again: the same image, prompt and settings, under other interventions."""

from collections.abc import Sequence
from typing import Any, Final

import torch

from lvlmscope.capture.trace_one import trace as trace_one
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.runtime.protocol import Intervention
from lvlmscope.traces.trace import Trace

__all__ = ["trace_again"]

# What a trace keeps the class name of, not the object
_OBJECTS: Final = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "generation_config")
_OURS: Final = ("answer", "seed", "streamer")  # no settings of generate, or nothing that changes an answer


@task("trace again")
def trace_again(trace: Trace, model: Any, interventions: Sequence[Intervention]) -> Trace:
    """The trace of the same image, prompt and generation settings, with interventions on.

    An answer that was given is given again; else the model writes a new one, sampled from the same seed where the first
    was sampled with one.

    Args:
        trace: A trace of images and a prompt.
        model: What made it.
        interventions: In the order in which they act, after those that are attached to the model.

    Returns:
        A trace that keeps what the first one keeps.

    Raises:
        ModelInputError: A trace without its images, or made with objects that it does not hold.
        LvlmscopeError: As for `lvlmscope.trace`.
    """
    if not trace.images:
        got, fix = "a trace without its images", "trace an image and a prompt, not prepared inputs"
        raise ModelInputError(message(got, "a trace with images", fix))
    settings = {name: value for name, value in trace.provenance.get("generation", {}).items() if value is not None}
    lost = [name for name in _OBJECTS if name in settings]
    if lost:
        got, fix = f"a trace made with {', '.join(lost)}", "call lv.trace with them and lv.explore(before, after)"
        raise ModelInputError(message(got, "settings that a trace holds", fix))
    given = settings.get("answer") == "given"
    options = {} if given else {name: value for name, value in settings.items() if name not in _OURS}
    images = list(trace.images)
    return trace_one(
        model,
        images[0] if len(images) == 1 else images,
        trace.prompt,
        answer=trace.answer_ids if given else None,
        interventions=tuple(interventions),
        gradients=trace.gradient is not None,
        hidden_states=trace.hidden_states is not None,
        keep=trace.kept_keys,
        precision="float16" if trace.attention.dtype == torch.float16 else "float32",
        seed=settings.get("seed"),
        progress=False,
        **options,
    )
