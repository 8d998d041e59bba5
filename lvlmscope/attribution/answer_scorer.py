"""A traced answer given once more, with other images or other image embeddings: log-probability of each token."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.autograd.graph import allow_mutation_on_saved_tensors

from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.capture.generation import generate_answer
from lvlmscope.capture.inputs_from_trace import rerun_inputs
from lvlmscope.capture.stepwise_replay import SEEN_LAST_ROW, steps_reason
from lvlmscope.decoding.forward_arguments import logits_step_by_step, replayed_arguments, whole_arguments
from lvlmscope.decoding.generation_record import Generation, teacher_force
from lvlmscope.errors import ModelInputError, ReplayError, message
from lvlmscope.hooks.hidden_states import HiddenHooks
from lvlmscope.inputs.preparation import join, prepare
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap
from lvlmscope.models.padded_batches import padding_reason
from lvlmscope.runtime.attachment import instrumentation_of
from lvlmscope.runtime.generation_settings import plain_settings
from lvlmscope.traces.requirements import require_image
from lvlmscope.traces.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["AnswerScorer", "EmbeddingScorer", "answer_scorer_of"]

EmbeddingScorer = Callable[[torch.Tensor], torch.Tensor]  # [batch, image token, hidden] -> [batch, step]

_STEPS: Final = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}  # the second: PaliGemma's token types
# Of the largest log-probability: another batch and another kernel round differently
_TOLERANCE: Final = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerScorer:
    """A model that gives a trace's answer again.

    Attributes:
        trace: The trace.
        model: The bare model, without interventions.
        family: Its family's rules.
        processor: Makes inputs from images, None where inputs were given.
        inputs: The prompt's own inputs.
        image: Which of its positions hold image tokens, bool `[position]`.
        stepwise: Whether the forwards of `generate` run again one by one, for one image at a time, as where the trace
            was replayed so: what a block of rows gives would differ.
    """

    trace: Trace
    model: Any
    family: Family
    processor: Any
    inputs: dict[str, Any]
    image: torch.Tensor
    stepwise: bool = False

    @torch.no_grad()
    def with_images(self, images: "Sequence[Image]", *, place: int = 0) -> torch.Tensor:
        """Log-probability of each answer token had the model been shown another image, nats.

        Args:
            images: Each takes the place of the trace's own in a prompt of its own.
            place: Which image of the prompt is replaced.

        Returns:
            `[image, step]`, float32 on the CPU.
        """
        own, prompt = self.trace.images, self.trace.prompt
        shown = [[*own[:place], image, *own[place + 1 :]] for image in images]
        ready = [prepare(one, prompt, self.processor, self.family) for one in shown]
        alone = self.stepwise or bool(padding_reason(self.model, self.family))
        batches = [[one] for one in ready] if alone else [ready]
        return torch.cat([self._log_probs(self._logits(join(batch, self.family).inputs)) for batch in batches])

    def _logits(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Of the predicting rows, last of all `[sample, row, vocabulary]`."""
        made = self._forced(inputs)
        if self.stepwise:
            return logits_step_by_step(self.model, self.family, made, prompt=nullcontext())
        arguments, _ = replayed_arguments(self.model, self.family, made)
        logits: torch.Tensor = self.family.core(self.model)(**arguments, return_dict=True).logits
        return logits

    @torch.no_grad()
    def embeddings_of(self, images: "Sequence[Image]") -> torch.Tensor:
        """What the decoder would be handed at the image positions for other images of the same sizes.

        Args:
            images: As many as the prompt has.

        Returns:
            `[image token, hidden]`, float32.
        """
        inputs = prepare(list(images), self.trace.prompt, self.processor, self.family).inputs
        handed: list[torch.Tensor] = []

        def keep(layer: int, stream: torch.Tensor) -> None:
            if layer == -1:
                handed.append(stream[0].float())

        with _switched_on(self._hooks(keep)):
            self._forced(inputs)
        return handed[0][self.image.to(handed[0].device)]

    def _hooks(self, edit: Callable[[int, torch.Tensor], torch.Tensor | None]) -> HiddenHooks:
        require_one_stream(self.model, self.family, task="read the embeddings of the image")
        return HiddenHooks(self.family.decoder_layers(self.model), edit)

    def repeated(
        self,
        batch: int,
        *,
        inputs: dict[str, Any] | None = None,
        prompt: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Callable[[], torch.Tensor]:
        """The answer given again from the start of the prompt, several times in one batch.

        Args:
            batch: How many times; 1 where the answer is given step by step.
            inputs: Other inputs of a prompt with the same tokens.
            prompt: Makes what is entered around the forward of the prompt.

        Returns:
            A function that runs it and gives the log-probability of each answer token, nats `[batch, step]`.
        """
        core = self.family.core(self.model)
        with torch.no_grad():
            made = self._forced(_copies(inputs or self.inputs, batch))

        def run() -> torch.Tensor:
            if self.stepwise:
                logits = logits_step_by_step(self.model, self.family, made, prompt=prompt())
            else:
                with prompt():
                    logits = core(**whole_arguments(core, made), return_dict=True).logits
            return self._log_probs(logits)

        return run

    @contextmanager
    def with_embeddings(self, batch: int) -> "Iterator[tuple[torch.Tensor, EmbeddingScorer]]":
        """What the decoder is handed at the image positions, and scores of what it might be handed instead.

        Weights are frozen inside the block, and as before after it.

        Args:
            batch: Variants that are run at once.

        Yields:
            The model's own embeddings `[image token, hidden]`, float32, and a function from up to `batch` others
            `[variant, image token, hidden]` to log-probabilities `[variant, step]`, which can be differentiated.
        """
        together = 1 if self.stepwise else batch
        handed = _Handed(self.image.nonzero().flatten())
        hooks = self._hooks(handed)
        run = self.repeated(together, prompt=lambda: _switched_on(hooks))

        def score_some(embeddings: torch.Tensor) -> torch.Tensor:
            missing = together - len(embeddings)
            handed.others = torch.cat([embeddings, embeddings[-1:].expand(missing, -1, -1)]) if missing else embeddings
            try:
                return run()[: len(embeddings)]
            finally:
                handed.others = None

        def score(embeddings: torch.Tensor) -> torch.Tensor:
            return torch.cat([score_some(some) for some in embeddings.split(together)])

        # Recurrent layers write their state in place
        with _frozen(self.model), allow_mutation_on_saved_tensors() if self.stepwise else nullcontext():
            with torch.no_grad():
                self.confirm(run()[:1])
            yield handed.own, score

    def confirm(self, log_probs: torch.Tensor) -> None:
        """Refuse to go on from an answer that the trace does not hold.

        Args:
            log_probs: With nothing changed `[1, step]`.

        Raises:
            ReplayError: They are not the trace's: another model, other inputs, or a trace made under interventions.
        """
        expected = self.trace.log_probs
        gap = (log_probs[0].cpu() - expected).abs().max()
        share = _TOLERANCE.get(decoder_dtype(self.model, self.family), 2e-3)
        if not bool(gap <= share * expected.abs().max().clamp(min=1.0)):
            got = f"log-probabilities that differ from the trace's by {float(gap):.3g} nats"
            possible = "the model that made the trace, without interventions"
            fix = "trace the answer again with this model: lvlmscope.trace(..., answer=trace.answer_ids.tolist())"
            raise ReplayError(message(got, possible, fix))

    def _forced(self, inputs: dict[str, Any]) -> Generation:
        options = plain_settings(self.family.core(self.model)) | _STEPS
        first = generate_answer(self.model, self.family, inputs, options, progress=False)
        return teacher_force(first, self.trace.answer_ids)

    def _log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        logs = logits[:, -self.trace.num_steps :].float().log_softmax(-1)
        answer = self.trace.answer_ids.to(logs.device).expand(len(logs), -1)
        return logs.gather(-1, answer[..., None])[..., 0].cpu()


def answer_scorer_of(
    trace: Trace, model: Any, *, processor: Any = None, inputs: Any = None, in_sequence: bool = True
) -> AnswerScorer:
    """What gives a trace's answer again.

    Args:
        trace: A trace with an image.
        model: What `load` gave, or a bare model: the one that made the trace.
        processor: Its processor, when it cannot be found from the model's name.
        inputs: Prepared inputs that the trace was made from, instead of its images.
        in_sequence: Image tokens in the decoder's sequence are needed.

    Returns:
        The answerer.

    Raises:
        ModelInputError: No image, interventions that are on, or inputs that are not the trace's.
        UnsupportedModelError: Image tokens in the sequence are needed and the model has none.
    """
    require_image(trace)
    bare = unwrap(model)
    if instrumentation_of(bare) is not None:
        got, expected = "a model with interventions switched on", "the plain model"
        raise ModelInputError(message(got, expected, "call it outside lv.intervene"))
    family = family_for(model)
    found = find_processor(model, processor) if inputs is None and trace.images else processor
    recalled, image = rerun_inputs(trace, bare, family, processor=found, inputs=inputs, in_sequence=in_sequence)
    replayed = trace.provenance.get("replay", {})
    differed = replayed.get("path") == "steps" and replayed.get("reason") != SEEN_LAST_ROW
    return AnswerScorer(
        trace=trace,
        model=bare,
        family=family,
        processor=found,
        inputs=recalled,
        image=image,
        stepwise=differed or bool(steps_reason(bare, family, gradients=False)),
    )


def _copies(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """One batch of the same sample several times."""
    found = {}
    for name, value in inputs.items():
        # MiniCPM-V packs the patches of all images into one row
        axis = -1 if name == "pixel_values" and "target_sizes" in inputs else 0
        found[name] = torch.cat([value] * count, axis) if isinstance(value, torch.Tensor) else value
    return found


@contextmanager
def _switched_on(hooks: HiddenHooks) -> Iterator[None]:
    hooks.set(True)
    try:
        yield
    finally:
        hooks.set(False)


class _Handed:
    """Keeps what the decoder is handed at the image positions, and hands it others."""

    def __init__(self, positions: torch.Tensor) -> None:
        self._positions = positions
        self.own = torch.empty(0)
        self.others: torch.Tensor | None = None

    def __call__(self, layer: int, stream: torch.Tensor) -> torch.Tensor | None:
        if layer != -1:
            return None
        places = self._positions.to(stream.device)
        if self.others is None:
            self.own = stream[0, places].detach().float()
            return None
        return stream.index_copy(1, places, self.others.to(stream.device, stream.dtype))


@contextmanager
def _frozen(model: torch.nn.Module) -> Iterator[None]:
    """Without gradients for weights: a graph through them would hold every layer's input."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
