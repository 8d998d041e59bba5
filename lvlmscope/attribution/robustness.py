"""Max-sensitivity of a saliency map: its largest change under small perturbations of the image."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch

from lvlmscope.attention.option_checks import require_function
from lvlmscope.capture.trace_one import trace as trace_again
from lvlmscope.errors import ModelInputError, ShapeError, message, task
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.runtime.attachment import instrumentation_of
from lvlmscope.traces.requirements import require_trace
from lvlmscope.traces.trace import Trace

__all__ = ["max_sensitivity"]

_TASK: Final = "measure a map's sensitivity"


@checked
@task(_TASK)
def max_sensitivity(
    trace: Trace,
    model: Any,
    explain: Callable[[Trace], Any],
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
    processor: Any = None,
) -> float:
    """Largest relative change of a map when the image is disturbed a little, as a share of the map's own size.

    `SENS_MAX = max_{|d| <= radius} |phi(x + d) - phi(x)| / |phi(x)|` over random d, uniform for each pixel and colour;
    the answer stays the trace's. By captum's `sensitivity_max`: the largest of a few draws, so a lower bound. A map
    that never changes has 0, whatever it shows: read it beside `infidelity`.

    Args:
        trace: A trace that holds its images.
        model: The model that made it; of a trace made with interventions, with these on.
        explain: From a trace to a map: a signal, or a function that calls `occlusion` for one word.
        radius: Most that a pixel's colour is changed, as a share of its range, 1/255 to 1.
        samples: Disturbed images; each is traced anew, with the keys, gradients and hidden states that the trace has.
        seed: Of the draws.
        processor: The model's processor, when it cannot be found from the model's name.

    Returns:
        A share, at least 0; NaN where a map is.

    Raises:
        ModelInputError: A trace without images, interventions that are on for the trace or the model alone, or a radius
            or number of samples that is not possible.
        ShapeError: Maps that differ in shape.

    Reference:
        Yeh et al., arXiv 1901.09392, definition 3.1.

    >>> import lvlmscope as lv
    >>> from lvlmscope.tiny import scene
    >>> model, shown = lv.load("tiny"), scene("prior", 0)
    >>> trace = lv.trace(model, shown.image, "Describe the image.", answer="A handbag", progress=False)
    >>> max_sensitivity(trace, model, lambda _: [[1.0, 1.0]], samples=1)  # a map that never changes
    0.0
    """
    from captum.metrics import sensitivity_max

    if not 1 / 255 <= radius <= 1 or samples < 1:
        got, expected = f"radius={radius}, samples={samples}", "a radius from 1/255 to 1, 1 or more samples"
        raise ModelInputError(message(got, expected, "choose them there"))
    require_trace(trace)
    require_function("explain", explain, "a function of a trace")
    if not trace.images:
        got, fix = "a trace without its images", "trace an image and a prompt, not prepared inputs"
        raise ModelInputError(message(got, "a trace with images", fix))
    if bool(trace.effects) != (instrumentation_of(model) is not None):
        got = "interventions on in the trace alone" if trace.effects else "interventions on in the model alone"
        fix = "switch on with lv.intervene what the trace was made with, and nothing else"
        raise ModelInputError(message(got, "the same interventions for both", fix))
    draws = torch.Generator().manual_seed(seed)
    own = torch.from_numpy(_values(explain(trace)))
    images = tuple(torch.from_numpy(np.array(one.convert("RGB"))).float()[None] / 255 for one in trace.images)

    def disturb(shown: Any, _: float) -> tuple[torch.Tensor, ...]:
        given = shown if isinstance(shown, tuple) else (shown,)
        noise = [radius * (2 * torch.rand(one.shape, generator=draws) - 1) for one in given]
        return tuple((one + d).clamp(0, 1) for one, d in zip(given, noise, strict=True))

    @task(_TASK)
    def explained(shown: Any) -> tuple[torch.Tensor]:  # captum takes a lone tensor's first axis for a tuple
        given = shown if isinstance(shown, tuple) else (shown,)
        if all(torch.equal(one[:1], image) for one, image in zip(given, images, strict=True)):
            return (own[None],)
        maps = [
            _explained_again(trace, model, explain, [p[n].numpy() for p in given], processor)
            for n in range(len(given[0]))
        ]
        if any(one.shape != own.shape for one in maps):
            got = f"maps of shapes {sorted({tuple(one.shape) for one in (own, *maps)})}"
            raise ShapeError(message(got, "maps of one shape", "choose words by step number"))
        return (torch.stack(maps),)

    found = sensitivity_max(explained, images, disturb, radius, samples, max_examples_per_batch=1)
    return float(found)


def _explained_again(
    trace: Trace, model: Any, explain: Callable[[Trace], Any], images: list[np.ndarray], processor: Any
) -> torch.Tensor:
    again = trace_again(
        model,
        images,
        trace.prompt,
        answer=trace.answer_ids.tolist(),
        processor=processor,
        gradients=trace.gradient is not None,
        hidden_states=trace.hidden_states is not None,
        keep=trace.kept_keys,
        progress=False,
    )
    return torch.from_numpy(_values(explain(again)))


def _values(found: Any) -> np.ndarray:
    try:
        values: np.ndarray = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        got = f"{type(found).__name__} from explain"
        raise ModelInputError(message(got, "a map of numbers", "give a function that returns one")) from error
    return values
