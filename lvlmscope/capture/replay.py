"""The answer's predicting rows through the decoder once more, as one block, with rows and gradients kept."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from transformers.cache_utils import DynamicLayer

from lvlmscope.capture.generation import Generation
from lvlmscope.capture.options import KeyFilter
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.capture.token_gradients import has_recurrence, one_layer_at_a_time, token_gradients
from lvlmscope.capture.token_statistics import Probabilities, read_probabilities
from lvlmscope.errors import ReplayError, message
from lvlmscope.models.families import Family
from lvlmscope.runtime.hidden_layers import refuse_hidden_layers
from lvlmscope.runtime.model_hooks import Instrumentation

__all__ = [
    "Agreement",
    "Replay",
    "compare_logits",
    "cut_cache",
    "replay_answer",
    "replayed_arguments",
    "whole_arguments",
]

# Largest difference allowed between two ways of computing the same logits, as a share of the largest logit: some
# thousands of rounding steps of float32; bf16 and fp16 round at every layer.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the replay repeats what was generated.

    Attributes:
        difference: Largest absolute difference of logits.
        tolerance: What is allowed for the model's dtype and the size of the logits.
    """

    difference: float
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """What one replayed block gave, batch first and with padding.

    Attributes:
        attention: Rows of each layer that has them, ``[batch, step, head, key]``, float32 on the CPU.
        gradient: ``d loss / d attention`` of the same shapes, None if not asked for.
        image_scores: Sum of pre-softmax scores of visible image keys, per layer ``[batch, step, head]``.
        hidden: ``[batch, step, layer + 1, hidden]``, None if not asked for.
        probabilities: Of the answer's tokens and their alternatives.
        agreement: Against ``generate``.
        seen: Which image keys some row may see, of layers that look at the image by cross-attention
            ``[batch, key]``; their key axis is the image's.
        path: "block" over the cut cache, or "full" from the start of the prompt.
        kernels: The model's own attention kernels.
        columns: Columns of the padded key axis that are kept, None for all.
        layerwise: Whether the graph of one layer at a time was held.
    """

    attention: dict[int, Float[torch.Tensor, "batch step _head _key"]]
    gradient: dict[int, Float[torch.Tensor, "batch step _head _key"]] | None
    image_scores: dict[int, Float[torch.Tensor, "batch step _head"]]
    hidden: Float[torch.Tensor, "batch step depth hidden"] | None
    probabilities: Probabilities
    agreement: Agreement
    seen: dict[int, Bool[torch.Tensor, "batch _key"]]
    path: str
    kernels: tuple[str, ...]
    columns: Int[torch.Tensor, "kept_key"] | None = None
    layerwise: bool = False


def replay_answer(
    model: Any,
    instrumentation: Instrumentation,
    generation: Generation,
    *,
    gradients: bool = False,
    hidden_states: bool = False,
    keeping: KeyFilter | None = None,
    layerwise: bool = False,
) -> Replay:
    """Run the predicting rows once: as one block over the cut cache, or from the start where it cannot be cut.

    Args:
        model: The bare model.
        instrumentation: Its hooks, with the interventions that were on while it generated.
        generation: What to repeat; its cache is cut back to the prompt.
        gradients: Keep ``d loss_t / d attention`` of every token, in one backward.
        hidden_states: Keep the residual stream of the predicting rows.
        keeping: What is kept of each row, everything when None.
        layerwise: Hold the graph of one layer at a time; the backward pass runs each layer once more.

    Returns:
        The replay.

    Raises:
        ReplayError: The replayed logits differ from the generated ones by more than the dtype explains.
        UnsupportedModelError: A layer attends out of sight.
    """
    core, crossing = instrumentation.family.core(model), instrumentation.family.crossing_layers(model)
    arguments, in_block = replayed_arguments(model, instrumentation.family, generation)
    recorder = RowRecorder(
        keeping or KeyFilter(), differentiable=gradients, wants_hidden=hidden_states, lowest_only=layerwise
    )
    recurrent = has_recurrence(generation.cache)
    mode: Callable[[], AbstractContextManager[Any]] = torch.enable_grad if gradients else torch.no_grad
    with (
        instrumentation.recording(recorder),
        mode(),
        _layerwise(instrumentation, generation, in_block) if layerwise else nullcontext(),
    ):
        instrumentation.tracker.set_sequence(generation.ids[:, :-1], generation.prompt_length)
        kernels = instrumentation.kernels
        logits = core(**arguments, return_dict=True).logits
        logits = logits[:, -generation.num_steps :]
        refuse_hidden_layers(model, generation.cache, recorder.rows)
        agreement = compare_logits(generation, logits.detach(), model.dtype)
        gradient = None
        if gradients:
            separately = recurrent or len(recorder.rows) < instrumentation.model_info.num_layers
            with instrumentation.tracker.resumed():
                gradient = token_gradients(recorder, logits, generation, separately=separately)
    hidden = [recorder.hidden[layer] for layer in sorted(recorder.hidden)]
    return Replay(
        attention=dict(sorted(recorder.rows.items())),
        gradient=gradient,
        image_scores=dict(sorted(recorder.image_scores.items())),
        hidden=torch.stack(hidden, 2) if hidden else None,
        probabilities=read_probabilities(logits.detach(), generation.ids[:, generation.prompt_length :]),
        agreement=agreement,
        seen={layer: recorder.seen_keys(layer) for layer in sorted(crossing & recorder.rows.keys())},
        path="block" if in_block else "full",
        kernels=kernels,
        columns=recorder.keeping.columns,
        layerwise=layerwise,
    )


def _layerwise(
    instrumentation: Instrumentation, generation: Generation, in_block: bool
) -> AbstractContextManager[None]:
    cache = generation.cache if in_block else None
    return one_layer_at_a_time(instrumentation.model_info.decoder_layers, cache, generation.num_steps)


def compare_logits(
    generation: Generation, logits: Float[torch.Tensor, "batch step vocabulary"], dtype: torch.dtype
) -> Agreement:
    """The largest difference from the logits ``generate`` had; refuses past a tolerance, and on NaN.

    Args:
        generation: With ``generate``'s logits.
        logits: Replayed ones ``[batch, step, vocabulary]``.
        dtype: The model's.

    Returns:
        Difference and tolerance.

    Raises:
        ReplayError: They differ, or are NaN.
    """
    gaps, sizes = [], []
    for step in range(generation.logits.shape[1]):  # one at a time: whole vocabularies of all steps are large
        running = torch.tensor([step < count for count in generation.steps])
        ours, theirs = (each[running.to(each.device), step].float().cpu() for each in (logits, generation.logits))
        gaps.append((ours - theirs).abs().masked_fill(ours == theirs, 0.0).max())  # equal infinities differ by NaN
        sizes.append(theirs.abs().masked_fill(theirs.isinf(), 0.0).max())
    difference = torch.stack(gaps).max().item()  # NaN where one is
    scale = torch.stack(sizes).max().clamp(min=1.0).item()
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE[torch.float32]) * scale
    if not difference <= tolerance:  # written so that NaN fails
        got = f"logits that differ by {difference:.3g}"
        fix = "report the model and its options; int8 activations depend on the rows that share a forward"
        raise ReplayError(message(got, f"a difference up to {tolerance:.3g}", fix, task="replay the answer"))
    return Agreement(difference=difference, tolerance=tolerance)


def cut_cache(generation: Generation, crossing: frozenset[int] = frozenset()) -> bool:
    """Cut a generation's cache back to the prompt without its last position.

    Args:
        generation: Its cache holds the prompt and maybe the answer; it is cut in place.
        crossing: Layers whose keys are the image's, which stay whole.

    Returns:
        Whether it could be cut; windowed, static, quantised, recurrent and convolutional layers cannot.
    """
    layers = getattr(generation.cache, "layers", None)
    # Other kinds say that they can be cut, or are cut wrongly
    if not layers or {type(layer).__name__ for layer in layers} - {"DynamicLayer", "DummyLayer"}:
        return False
    for number, layer in enumerate(layers):
        if number not in crossing and isinstance(layer, DynamicLayer) and layer.get_seq_length():
            layer.crop(generation.prompt_length - 1 - layer.get_seq_length())
    return True


def _block_arguments(generation: Generation) -> dict[str, Any]:
    """The predicting rows over the cut cache."""
    start, end = generation.prompt_length - 1, generation.ids.shape[1] - 1
    arguments = generation.extra | generation.per_row | {"input_ids": generation.ids[:, start:end]}
    arguments |= {"past_key_values": generation.cache, "use_cache": True}
    if generation.position_ids is not None:
        arguments["position_ids"] = generation.position_ids
    return arguments | {"attention_mask": generation.attention_mask}


def whole_arguments(core: Any, generation: Generation) -> dict[str, Any]:
    """Keyword arguments of a forward over prompt and answer from the start, image inputs included, without a cache.

    Args:
        core: The module whose forward ``generate`` calls.
        generation: What to repeat.

    Returns:
        What the module's forward takes; its last rows predict the answer.
    """
    end = generation.ids.shape[1] - 1
    answer, first = generation.ids[:, generation.prompt_length : end], generation.first
    arguments = dict(first) | {"use_cache": False}
    for name, rows in generation.per_row.items():
        arguments[name] = torch.cat([first[name], rows[:, 1:]], 1)
    for name in first.keys() - generation.per_row.keys():
        types = first[name]
        # Given with the prompt only (Ernie 4.5 VL): what follows is text
        if name.endswith("token_type_ids") and isinstance(types, torch.Tensor):
            arguments[name] = torch.cat([types, types.new_zeros(types.shape[0], end - types.shape[1])], 1)
    if first.get("input_ids") is None:
        arguments["inputs_embeds"] = torch.cat([first["inputs_embeds"], core.get_input_embeddings()(answer)], 1)
    else:
        arguments["input_ids"] = generation.ids[:, :end]
    if generation.position_ids is not None:
        arguments["position_ids"] = torch.cat([first["position_ids"], generation.position_ids[..., 1:]], -1)
    if "logits_to_keep" in inspect.signature(core.forward).parameters:
        arguments["logits_to_keep"] = generation.num_steps
    return arguments | {"attention_mask": generation.attention_mask}


def replayed_arguments(model: Any, family: Family, generation: Generation) -> tuple[dict[str, Any], bool]:
    """Keyword arguments of the forward that repeats an answer, and whether that is one block over the cut cache.

    Args:
        model: The bare model.
        family: Its family's rules.
        generation: What to repeat; its cache is cut back to the prompt where it can be.

    Returns:
        What the forward of the family's core takes; a forward from the start of the prompt where nothing can be cut.
    """
    # A last prompt position that shows the image is no id that could go through again
    ends_in_image = bool(family.image_mask(model, generation.ids[:, : generation.prompt_length])[:, -1].any())
    crossing = family.crossing_layers(model)
    # Before 5.20 Mllama takes a mask over all positions, which the one step before a given answer does not show
    unmasked = bool(crossing) and generation.settings.get("answer") == "given"
    if not ends_in_image and not unmasked and cut_cache(generation, crossing):
        return _block_arguments(generation), True
    return whole_arguments(family.core(model), generation), False
