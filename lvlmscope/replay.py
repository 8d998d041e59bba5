"""The answer's predicting rows through the decoder once more, as one block, with rows and gradients kept."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from lvlmscope.errors import ReplayError, UnsupportedOptionError, message
from lvlmscope.generating import Generation
from lvlmscope.probabilities import Probabilities, read_probabilities
from lvlmscope.rows import AttentionRows
from lvlmscope.stage import Stage

__all__ = ["Agreement", "Replay", "compare_logits", "cut_cache", "replay_answer"]

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
    """

    attention: dict[int, torch.Tensor]
    gradient: dict[int, torch.Tensor] | None
    image_scores: dict[int, torch.Tensor]
    hidden: torch.Tensor | None
    probabilities: Probabilities
    agreement: Agreement
    seen: dict[int, torch.Tensor]
    path: str
    kernels: tuple[str, ...]


class _RowRecorder:
    """Keeps rows and hidden states as they come; rows stay in the graph while gradients are wanted."""

    def __init__(self, *, differentiable: bool, wants_hidden: bool) -> None:
        self.differentiable = differentiable
        self.wants_hidden = wants_hidden
        self.rows: dict[int, torch.Tensor] = {}
        self.visible: dict[int, torch.Tensor | None] = {}
        self.image_scores: dict[int, torch.Tensor] = {}
        self.hidden: dict[int, torch.Tensor] = {}

    def record_rows(self, layer: int, rows: AttentionRows) -> None:
        if self.differentiable and not rows.weights.requires_grad:
            received, todo = f"layer {layer} outside the graph", "trace without gradients"
            raise ReplayError(message("differentiate attention", received, "rows that carry gradients", todo))
        self.visible[layer] = rows.visible_keys
        self.image_scores[layer] = _image_scores(rows).float().cpu()
        self.rows[layer] = rows.weights if self.differentiable else rows.weights.float().cpu()

    def record_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        self.hidden[layer] = hidden.detach().float().cpu()


def _image_scores(rows: AttentionRows) -> torch.Tensor:
    """Sum of the scores of the image keys that each row may see, ``[batch, row, head]``."""
    counted = rows.image_keys if rows.visible_keys is None else rows.image_keys & rows.visible_keys
    return torch.where(counted.unsqueeze(-2), rows.scores.detach(), 0.0).sum(-1)


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
    return arguments


def _full_arguments(core: Any, generation: Generation) -> dict[str, Any]:
    """Prompt and answer from the start, image inputs included, without a cache."""
    end = generation.ids.shape[1] - 1
    answer, first = generation.ids[:, generation.prompt_length : end], generation.first
    arguments = dict(first) | {"use_cache": False}
    for name, rows in generation.per_row.items():
        arguments[name] = torch.cat([first[name], rows[:, 1:]], 1)
    if first.get("input_ids") is None:
        arguments["inputs_embeds"] = torch.cat([first["inputs_embeds"], core.get_input_embeddings()(answer)], 1)
    else:
        arguments["input_ids"] = generation.ids[:, :end]
    if generation.position_ids is not None:
        arguments["position_ids"] = torch.cat([first["position_ids"], generation.position_ids[..., 1:]], -1)
    if "logits_to_keep" in inspect.signature(core.forward).parameters:
        arguments["logits_to_keep"] = generation.num_steps
    return arguments


def replay_answer(
    model: Any, stage: Stage, generation: Generation, *, gradients: bool = False, hidden_states: bool = False
) -> Replay:
    """Run the predicting rows once: as one block over the cut cache, or from the start where it cannot be cut.

    Args:
        model: The bare model.
        stage: Its stage, with whatever remedies were on while it generated.
        generation: What to repeat; its cache is cut back to the prompt.
        gradients: Keep ``d loss_t / d attention`` of every token, in one backward (methods 1.4).
        hidden_states: Keep the residual stream of the predicting rows.

    Returns:
        The replay.

    Raises:
        ReplayError: The replayed logits differ from the generated ones by more than the dtype explains.
        UnsupportedOptionError: Gradients under ``torch.inference_mode``.
    """
    if gradients and torch.is_inference_mode_enabled():
        received, todo = "torch.inference_mode", "use torch.no_grad, or call trace outside the block"
        raise UnsupportedOptionError(message("trace gradients", received, "tensors that can be differentiated", todo))
    core, crossing = stage.family.core(model), stage.family.crossing_layers(model)
    # A last prompt position that shows the image is no id that could go through again
    ends_in_image = bool(stage.family.image_mask(model, generation.ids[:, : generation.prompt_length])[:, -1].any())
    in_block = not ends_in_image and cut_cache(generation, crossing)
    arguments = _block_arguments(generation) if in_block else _full_arguments(core, generation)
    arguments["attention_mask"] = generation.attention_mask
    recorder = _RowRecorder(differentiable=gradients, wants_hidden=hidden_states)
    mode: Callable[[], AbstractContextManager[Any]] = torch.enable_grad if gradients else torch.no_grad
    with stage.recording(recorder), mode():
        stage.follower.remember(generation.ids[:, :-1], generation.prompt_length)
        kernels = stage.kernels
        logits = core(**arguments, return_dict=True).logits
        logits = logits[:, -generation.num_steps :]
        agreement = compare_logits(generation, logits.detach(), model.dtype)
        mixed = len(recorder.rows) < stage.site.num_layers or _has_recurrence(generation.cache)
        gradient = _gradients(recorder, logits, generation, separately=mixed) if gradients else None
    hidden = [recorder.hidden[layer] for layer in sorted(recorder.hidden)]
    return Replay(
        attention={layer: rows.detach().float().cpu() for layer, rows in sorted(recorder.rows.items())},
        gradient=gradient,
        image_scores=dict(sorted(recorder.image_scores.items())),
        hidden=torch.stack(hidden, 2) if hidden else None,
        probabilities=read_probabilities(logits.detach(), generation.ids[:, generation.prompt_length :]),
        agreement=agreement,
        seen={layer: _seen_keys(recorder, layer) for layer in sorted(crossing & recorder.rows.keys())},
        path="block" if in_block else "full",
        kernels=kernels,
    )


def compare_logits(generation: Generation, logits: torch.Tensor, dtype: torch.dtype) -> Agreement:
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
    ours, theirs = logits[:, : generation.logits.shape[1]].float().cpu(), generation.logits.float().cpu()
    steps = torch.arange(theirs.shape[1])
    valid = torch.stack([steps < count for count in generation.steps])
    ours, theirs = ours[valid], theirs[valid]
    gap = (ours - theirs).abs().masked_fill(ours == theirs, 0.0)  # equal infinities differ by NaN
    difference = gap.max().item() if not gap.isnan().any() else float("nan")
    scale = theirs.abs().masked_fill(theirs.isinf(), 0.0).max().clamp(min=1.0).item()
    tolerance = _TOLERANCE.get(dtype, _TOLERANCE[torch.float32]) * scale
    if not difference <= tolerance:  # written so that NaN fails
        received = f"logits that differ by {difference:.3g}"
        todo = "report the model and its options; its rows would be those of another computation"
        raise ReplayError(message("replay the answer", received, f"a difference up to {tolerance:.3g}", todo))
    return Agreement(difference=difference, tolerance=tolerance)


def _seen_keys(recorder: _RowRecorder, layer: int) -> torch.Tensor:
    visible = recorder.visible[layer]
    if visible is None:
        return torch.ones(recorder.rows[layer].shape[0], recorder.rows[layer].shape[-1], dtype=torch.bool)
    return visible.any(1).cpu()


def _has_recurrence(cache: Any) -> bool:
    """Whether a layer hands a state from token to token beside its keys and values."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in getattr(cache, "layers", []))


def _gradients(
    recorder: _RowRecorder, logits: torch.Tensor, generation: Generation, *, separately: bool
) -> dict[int, torch.Tensor]:
    """``d loss_t / d attention`` for every token, from one backward of the summed losses.

    Where states pass from token to token (recurrence, convolution) a later loss would reach an earlier token's row:
    there each token has a backward of its own over the one graph.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    answer = generation.ids[:, generation.prompt_length :].to(logits.device)
    log_probs = torch.log_softmax(wide, -1).gather(-1, answer.unsqueeze(-1)).squeeze(-1)
    steps = torch.arange(answer.shape[1], device=logits.device)
    valid = torch.stack([steps < count for count in generation.steps])
    losses, rows = -log_probs.where(valid, 0.0).sum(0), list(recorder.rows.values())
    if separately:
        found = tuple(torch.zeros_like(row) for row in rows)
        for step, loss in enumerate(losses):
            own = torch.autograd.grad(loss, rows, retain_graph=step < len(losses) - 1)
            for whole, part in zip(found, own, strict=True):
                whole[:, step] = part[:, step]
    else:
        found = torch.autograd.grad(losses.sum(), rows)
    gradients = {}
    for layer, gradient in sorted(zip(recorder.rows, found, strict=True), key=itemgetter(0)):
        visible = recorder.visible[layer]
        # The loss has a slope at keys the row may not see, too; a trace shows the row's own keys only
        seen = gradient if visible is None else gradient.masked_fill(~visible.unsqueeze(-2), 0.0)
        gradients[layer] = seen.float().cpu()
    return gradients
