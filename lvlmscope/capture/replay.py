"""The answer's predicting rows through the decoder once more, as one block, with rows and gradients kept."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch
from jaxtyping import Bool, Float, Int

from lvlmscope.capture.agreement import Agreement, compare_logits, decoder_dtype
from lvlmscope.capture.mixed_logits import MixedLogits
from lvlmscope.capture.options import KeyFilter
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.capture.stepwise_replay import (
    SEEN_LAST_ROW,
    StepRecorder,
    replay_steps,
    sees_its_image,
    steps_reason,
)
from lvlmscope.capture.token_gradients import has_recurrence, one_layer_at_a_time, token_gradients
from lvlmscope.capture.token_statistics import Probabilities, read_probabilities
from lvlmscope.decoding.forward_arguments import replayed_arguments
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.errors import MemoryLimitError, ReplayError, message
from lvlmscope.runtime.hidden_layers import refuse_hidden_layers
from lvlmscope.runtime.model_hooks import Instrumentation

__all__ = ["Replay", "replay_answer", "replay_block"]

_TASK: Final = "replay the answer"


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
        path: "block" over the cut cache, "full" from the start of the prompt in one forward, or "steps": the
            forwards of ``generate`` one by one.
        reason: Why it went step by step.
        kernels: The model's own attention kernels.
        columns: Columns of the padded key axis that are kept, None for all.
        layerwise: Whether the graph of one layer at a time was held.
    """

    attention: dict[int, Float[torch.Tensor, "batch step _head _key"]]
    gradient: dict[int, Float[torch.Tensor, "batch step _head _key"]] | None
    image_scores: dict[int, Float[torch.Tensor, "batch step _head"]]
    hidden: Float[torch.Tensor, "batch step depth hidden"] | None
    probabilities: Probabilities
    mixed: Probabilities | None
    agreement: Agreement
    seen: dict[int, Bool[torch.Tensor, "batch _key"]]
    path: str
    reason: str
    kernels: tuple[str, ...]
    columns: Int[torch.Tensor, "kept_key"] | None = None
    layerwise: bool = False

    def without_rows(self) -> Self:
        """How it went, without anything that was read."""
        return replace(self, attention={}, gradient=None, image_scores={}, hidden=None)


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

    Where the rows of a block are known to round another way than one by one, or are found to, the forwards of
    ``generate`` run again instead, one by one.

    Args:
        instrumentation: Its hooks, with the interventions that were on while it generated.
        generation: What to repeat; its cache is cut back to the prompt.
        gradients: Keep ``d loss_t / d attention`` of every token, in one backward.
        hidden_states: Keep the residual stream of the predicting rows.
        keeping: What is kept of each row, everything when None.
        layerwise: Hold the graph of one layer at a time; the backward pass runs each layer once more.

    Returns:
        The replay.

    Raises:
        ReplayError: The replayed logits are NaN, or differ from the generated ones by more than the dtype explains.
        UnsupportedModelError: A layer attends out of sight.
    """
    dtype = decoder_dtype(model, instrumentation.family)
    attempt = _Attempt(
        model, instrumentation, generation, keeping or KeyFilter(), gradients, hidden_states, layerwise, dtype
    )
    reason = steps_reason(model, instrumentation.family, gradients=gradients)
    if gradients and not reason and sees_its_image(model, instrumentation.family, generation):
        reason = SEEN_LAST_ROW
    if not reason:
        replay = attempt.block()
        if replay.agreement.holds:
            return replay
        found = replay.agreement
        reason = f"one block gave logits that differ by {found.difference:.3g}, up to {found.tolerance:.3g} allowed"
        del replay
        if layerwise:
            expected, fix = "equal logits", "give more max_memory, so that the answer can be replayed step by step"
            raise ReplayError(message(reason, expected, fix, task=f"{_TASK} one layer at a time"))
    replay = attempt.steps(reason)
    if not replay.agreement.holds:
        found = replay.agreement
        got = f"the forwards of generate again, with logits that differ by {found.difference:.3g}"
        fix = "look for what is random in the model: hooks and modules of your own, kernels that are not deterministic"
        raise ReplayError(message(got, f"a difference up to {found.tolerance:.3g}", fix, task=_TASK))
    return replay


def replay_block(
    model: Any,
    instrumentation: Instrumentation,
    generation: Generation,
    *,
    gradients: bool,
    hidden_states: bool,
    keeping: KeyFilter,
) -> Replay:
    """As `replay_answer`, in one block over the cut cache or not at all.

    Args:
        instrumentation: Its hooks.
        generation: What to repeat; its cache is cut back to the prompt.
        gradients: As for `replay_answer`.
        hidden_states: As for `replay_answer`.
        keeping: What is kept of each row.

    Returns:
        The replay.

    Raises:
        MemoryLimitError: The cache cannot be cut.
        ReplayError: As for `replay_answer`.
    """
    dtype = decoder_dtype(model, instrumentation.family)
    replay = _Attempt(model, instrumentation, generation, keeping, gradients, hidden_states, False, dtype).block()
    doing = f"{_TASK} some steps at a time"
    if replay.path != "block":
        expected, fix = "a cache that can be cut before any step", "give more max_memory, for the whole answer at once"
        raise MemoryLimitError(message("an answer that is replayed from the start", expected, fix, task=doing))
    if not replay.agreement.holds:
        found = replay.agreement
        got, fix = f"logits that differ by {found.difference:.3g}", "give more max_memory, for the whole answer at once"
        raise ReplayError(message(got, f"a difference up to {found.tolerance:.3g}", fix, task=doing))
    return replay


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One generation to replay, and what is kept of it."""

    model: Any
    instrumentation: Instrumentation
    generation: Generation
    keeping: KeyFilter
    gradients: bool
    hidden_states: bool
    layerwise: bool
    dtype: torch.dtype

    @property
    def mode(self) -> Callable[[], AbstractContextManager[Any]]:
        """Grad mode of the forwards."""
        return torch.enable_grad if self.gradients else torch.no_grad

    def block(self) -> Replay:
        """All predicting rows in one forward; without gradients where the logits do not agree."""
        instrumentation, generation = self.instrumentation, self.generation
        core = instrumentation.family.core(self.model)
        arguments, in_block = replayed_arguments(self.model, instrumentation.family, generation)
        recorder = RowRecorder(
            self.keeping,
            differentiable=self.gradients,
            wants_hidden=self.hidden_states,
            lowest_only=self.layerwise,
        )
        recurrent = has_recurrence(generation.cache)
        with (
            instrumentation.recording(recorder),
            self.mode(),
            _layerwise(instrumentation, generation, in_block) if self.layerwise else nullcontext(),
        ):
            instrumentation.tracker.set_sequence(generation.ids[:, :-1], generation.prompt_length, generation.inputs)
            kernels = instrumentation.kernels
            logits = core(**arguments, return_dict=True).logits
            logits = logits[:, -generation.num_steps :]
            refuse_hidden_layers(self.model, generation.cache, recorder.rows)
            mixed = MixedLogits(instrumentation, generation)
            mixed.add(logits.detach())
            agreement = compare_logits(generation, logits.detach(), self.dtype)
            gradient = None
            if self.gradients and agreement.holds:
                separately = recurrent or len(recorder.rows) < instrumentation.model_info.num_layers
                with instrumentation.tracker.resumed():
                    gradient = token_gradients(recorder, logits, generation, separately=separately)
        path = "block" if in_block else "full"
        how: dict[str, Any] = {"path": path, "reason": "", "kernels": kernels, "mixed": mixed.logits}
        return self._made(recorder, logits.detach(), gradient, agreement, **how)

    def steps(self, reason: str) -> Replay:
        """The forwards of ``generate`` one by one."""
        recorder = StepRecorder(
            self.keeping, differentiable=self.gradients, wants_hidden=self.hidden_states, lowest_only=False
        )
        with self.instrumentation.recording(recorder):
            kernels = self.instrumentation.kernels
            mixed = MixedLogits(self.instrumentation, self.generation)
            logits = replay_steps(
                self.model, self.instrumentation, self.generation, recorder, self.mode, on_logits=mixed.add
            )
        gradient = dict(sorted(recorder.gradients.items())) if self.gradients else None
        agreement = compare_logits(self.generation, logits, self.dtype)
        how: dict[str, Any] = {"path": "steps", "reason": reason, "kernels": kernels, "mixed": mixed.logits}
        return self._made(recorder, logits, gradient, agreement, **how)

    def _made(
        self,
        recorder: RowRecorder,
        logits: Float[torch.Tensor, "batch step vocabulary"],
        gradient: dict[int, Float[torch.Tensor, "batch row head key"]] | None,
        agreement: Agreement,
        *,
        mixed: Float[torch.Tensor, "batch step vocabulary"] | None,
        **how: Any,
    ) -> Replay:
        answer = self.generation.ids[:, self.generation.prompt_length :]
        crossing = self.instrumentation.family.crossing_layers(self.model)
        hidden = [recorder.hidden[layer] for layer in sorted(recorder.hidden)]
        return Replay(
            attention=dict(sorted(recorder.rows.items())),
            gradient=gradient,
            image_scores=dict(sorted(recorder.image_scores.items())),
            hidden=torch.stack(hidden, 2) if hidden else None,
            probabilities=read_probabilities(logits, answer),
            mixed=None if mixed is None else read_probabilities(mixed, answer),
            agreement=agreement,
            seen={layer: recorder.seen_keys(layer) for layer in sorted(crossing & recorder.rows.keys())},
            columns=recorder.keeping.columns,
            layerwise=self.layerwise,
            **how,
        )


def _layerwise(
    instrumentation: Instrumentation, generation: Generation, in_block: bool
) -> AbstractContextManager[None]:
    cache = generation.cache if in_block else None
    return one_layer_at_a_time(instrumentation.model_info.decoder_layers, cache, generation.num_steps)
