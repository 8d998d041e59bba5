"""A replay that runs the forwards of ``generate`` again one by one: the same rows in each, so the same bits.

Experts that a router picks, 8-bit columns with outliers, rotary bases that follow the length: what a block of rows
gives may differ from what its rows give one at a time. Here nothing differs but what is read.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from jaxtyping import Float
from torch.autograd.graph import allow_mutation_on_saved_tensors

from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.capture.token_gradients import token_losses
from lvlmscope.decoding.forward_arguments import ends_in_image, prompt_arguments, step_arguments
from lvlmscope.decoding.forward_log import whole_cache
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.hooks.gradient_path import cut_graph
from lvlmscope.models.families import Family
from lvlmscope.runtime.model_hooks import Instrumentation

__all__ = ["SEEN_LAST_ROW", "StepRecorder", "replay_steps", "sees_its_image", "steps_reason"]

_HALF: Final = {torch.float16, torch.bfloat16}
SEEN_LAST_ROW: Final = "earlier tokens of the prompt see its last one, and pass its gradient on"


def sees_its_image(model: torch.nn.Module, family: Family, generation: Generation) -> bool:
    """Whether a prompt ends in an image whose tokens see each other, as Gemma3 lets them.

    Args:
        family: Its family's rules.
        generation: What is to be repeated.

    Returns:
        Whether earlier rows see the last one of the prompt.
    """
    prompt = generation.ids[:, : generation.prompt_length]
    return "token_type_ids" in generation.first and ends_in_image(model, family, prompt)


def steps_reason(model: torch.nn.Module, family: Family, *, gradients: bool) -> str:
    """Why a block of rows is known to give something else than its rows one by one.

    Args:
        family: Its family's rules.
        gradients: Whether they are wanted.

    Returns:
        Words for experts that a router picks in half precision, where a near tie falls one way or the other, for
        LLM.int8, which keeps columns with an outlier in any row of the forward in half precision, and with gradients
        for prompts whose earlier tokens see the last one, as the loss depends on its row through them, too; empty for
        others.
    """
    dtype = decoder_dtype(model, family)
    if gradients and family.prompt_sees_itself(model):
        return SEEN_LAST_ROW
    for name, module in family.decoder(model).named_modules():
        threshold = getattr(getattr(module, "state", None), "threshold", 0.0)
        if type(module).__name__ == "Linear8bitLt" and threshold:
            return f"{name} in 8 bits (LLM.int8), whose rows depend on the rows that share a forward"
        if dtype in _HALF and any(word in type(module).__name__ for word in ("Expert", "Router")):
            return f"{name} picks experts in {str(dtype).removeprefix('torch.')}, where rounding decides near ties"
    return ""


class StepRecorder(RowRecorder):
    """Takes one predicting row of each layer at a time and puts them together."""

    exact = True

    def start_step(self, step: int, generation: Generation, crossing: frozenset[int]) -> None:
        """Make room for a step's rows.

        Args:
            step: Its number.
            generation: What is repeated.
            crossing: Layers with keys of their own.
        """
        self._step, self._crossing = step, crossing
        self._steps = generation.num_steps
        self._seen = generation.prompt_length + step
        self._columns = generation.ids.shape[1] - 1
        if step == 0:
            self._whole: dict[str, dict[int, torch.Tensor]] = {"rows": {}, "gradients": {}, "image_scores": {}}
            self._whole |= {"hidden": {}, "visible": {}}
        self.rows, self.gradients, self.leaves, self.visible = {}, {}, {}, {}
        self.image_scores, self.hidden = {}, {}

    def end_step(self) -> None:
        """Add the step's rows to those before."""
        found: dict[str, dict[int, Any]] = {"rows": self.rows, "gradients": self.gradients}
        found |= {"image_scores": self.image_scores, "hidden": self.hidden}
        found["visible"] = {
            n: self.visible[n] for n in self._crossing & self.visible.keys() if self.visible[n] is not None
        }
        for name, layers in found.items():
            for layer, values in layers.items():
                if layer not in self._whole[name]:
                    self._whole[name][layer] = values.new_zeros(values.shape[0], self._steps, *values.shape[2:])
                self._whole[name][layer][:, self._step] = values[:, 0]

    def finish(self) -> None:
        """Let the attributes be those of all steps."""
        self.rows, self.gradients = self._whole["rows"], self._whole["gradients"]
        self.image_scores, self.hidden = self._whole["image_scores"], self._whole["hidden"]
        self.visible = {layer: self._whole["visible"].get(layer) for layer in self.rows}
        self.leaves = {}

    def kept(self, values: torch.Tensor, layer: int) -> torch.Tensor:
        """One step's values on the key axis of the last step; a windowed cache holds the last keys only."""
        if layer not in self._crossing:
            before = self._seen - values.shape[-1]
            values = torch.nn.functional.pad(values, (before, self._columns - self._seen))
        return super().kept(values, layer)


def replay_steps(
    model: torch.nn.Module,
    instrumentation: Instrumentation,
    generation: Generation,
    recorder: StepRecorder,
    mode: Callable[[], AbstractContextManager[Any]],
    *,
    on_logits: Callable[[Float[torch.Tensor, "batch row vocabulary"]], None] = lambda _: None,
) -> Float[torch.Tensor, "batch step vocabulary"]:
    """Run prompt and answer once more as ``generate`` ran them, inside the recording of their rows.

    Args:
        instrumentation: Its hooks.
        generation: What to repeat.
        recorder: Takes the rows, and gradients where it asks for them.
        mode: Grad mode of the forwards.
        on_logits: Gets the logits of each step ``[batch, 1, vocabulary]``, right after its forward.

    Returns:
        The logits of all steps, without a graph.
    """
    core, crossing = instrumentation.family.core(model), instrumentation.family.crossing_layers(model)
    cache = whole_cache(model).get("past_key_values")
    found = []
    prompt = generation.prompt_length
    instrumentation.tracker.set_sequence(generation.ids[:, :prompt], prompt, generation.inputs)
    for step in range(generation.num_steps):
        recorder.start_step(step, generation, crossing)
        given = step_arguments(generation, step) if step else prompt_arguments(core, generation)
        with mode(), allow_mutation_on_saved_tensors() if recorder.differentiable else nullcontext():
            # Recurrent layers write their state in place
            output = core(**given, past_key_values=cache, return_dict=True)
            logits = output.logits[:, -1]
            if recorder.differentiable:
                _differentiate(recorder, logits, generation, step)
        recorder.end_step()
        on_logits(logits.detach().unsqueeze(1))
        found.append(logits.detach())
        cache = output.past_key_values
        cut_graph(cache)  # a step's loss does not depend on the weights of earlier rows
    recorder.finish()
    return torch.stack(found, 1)


def _differentiate(recorder: StepRecorder, logits: torch.Tensor, generation: Generation, step: int) -> None:
    """Keep ``d loss_t / d attention`` of one step."""
    loss = token_losses(logits.unsqueeze(1), generation, step).sum()
    found = torch.autograd.grad(loss, list(recorder.leaves.values()))
    for layer, gradient in zip(recorder.leaves, found, strict=True):
        recorder.keep_gradient(layer, gradient)
