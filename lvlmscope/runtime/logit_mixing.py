"""Interventions that mix logits: their branches, during an answer and in its replay."""

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.decoding.branch import rows_continued
from lvlmscope.decoding.look_ahead import LookAhead
from lvlmscope.decoding.second_sequence import in_branch
from lvlmscope.errors import InterventionError, ModelInputError, UnsupportedOptionError, message, task
from lvlmscope.hooks.instance_attributes import shadowed
from lvlmscope.models.unembedding import Unembedding, unembeddings_of, verified_unembedding
from lvlmscope.runtime.active_intervention import ActiveIntervention
from lvlmscope.runtime.branch_set import BranchSet
from lvlmscope.runtime.candidate_rows import CandidateRows, RowReader
from lvlmscope.runtime.model_hooks import Instrumentation
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["LogitMixing", "mixing_logits"]

_TASK: Final = "generate with an intervention that mixes logits"
# Options under which a token is not chosen from one row of logits a step
_REFUSED: Final = (
    "assistant_model",
    "assistant_early_exit",
    "prompt_lookup_num_tokens",
    "custom_generate",
    "dola_layers",
    "inputs_embeds",
)
_CACHES: Final = ("past_key_values", "cache_position", "use_cache")
_VERIFIED: Final = 8  # log-probabilities of a row by which the unembedding is verified


class LogitMixing:
    """The interventions that mix the logits of one answer, in order, and their branches."""

    def __init__(
        self,
        instrumentation: Instrumentation,
        mixing: Sequence[ActiveIntervention],
        prompt: PromptInputs,
        *,
        beams: bool = False,
    ) -> None:
        """Ask each intervention for its branches; none runs yet.

        Args:
            instrumentation: The model's.
            mixing: The interventions.
            prompt: The prompts of the answer.
            beams: Whether tokens are chosen by beam search: rows are reordered between steps, and logits are
                log-probabilities.
        """
        self._instrumentation = instrumentation
        self._mixing = mixing
        self._beams = beams
        self._branches = BranchSet(instrumentation, mixing, prompt, reorders=beams)
        self._ahead: dict[tuple[ActiveIntervention, int], CandidateRows] = {}
        self._prompt = prompt
        self._before: torch.Tensor | None = None
        self._unembedding: Unembedding | None = None

    def mixed(
        self, logits: Float[torch.Tensor, "row vocabulary"], answer: Int[torch.Tensor, "row step"], *, at: int = -1
    ) -> Float[torch.Tensor, "row vocabulary"]:
        """Logits of the next token after all interventions.

        Args:
            logits: The model's own, float32.
            answer: Tokens so far.
            at: Index of the logits' row among the predicting rows of the last forward.

        Returns:
            Logits; under beams log-probabilities.

        Raises:
            InterventionError: Another shape.
        """
        own, came_from = logits, self._came_from(answer)
        for each in self._mixing:
            step = StepLogits(
                logits=logits,
                answer=answer,
                branch=partial(self._logits_of, each, answer, logits.device),
                early=partial(self._early, each, own, at),
                look_ahead=partial(self._candidate_rows, each, answer, logits.device),
                came_from=came_from,
            )
            found = each.call("mix_logits", step, shown={"logits": logits})
            if found is not None and found is not logits:
                each.record.logits(logits, found)
                logits = found.log_softmax(-1) if self._beams else found
        return logits

    def _came_from(self, answer: torch.Tensor) -> torch.Tensor | None:
        """Which row of the step before each row continues, by its tokens; None where none was moved."""
        before, self._before = self._before, answer
        if not self._beams or before is None or before.shape != (answer.shape[0], answer.shape[1] - 1):
            return None
        return rows_continued(before, answer, prompts=len(self._prompt.inputs["input_ids"]))

    def _candidate_rows(
        self,
        owner: ActiveIntervention,
        answer: torch.Tensor,
        device: torch.device,
        candidates: torch.Tensor,
        layer: int,
    ) -> AttentionRows:
        most = owner.session.look_ahead_tokens.get(layer, 0)
        if candidates.shape[1] > most:
            got, expected = f"{candidates.shape[1]} tokens in layer {layer}", f"at most {most} in it"
            fix = "name the layer and its number of tokens in look_ahead_tokens before the first forward"
            raise InterventionError(message(got, expected, fix, task=f"mix logits with {owner.name}"))
        if (owner, layer) not in self._ahead:
            hooks = self._instrumentation
            fresh = [each.fresh(hooks.model_info) for each in hooks.active if not each.session.chooses_tokens]
            reader = RowReader(layer)
            sequence = self._branches.made(LookAhead, self._prompt.inputs, [*fresh, reader.active])
            self._ahead[owner, layer] = CandidateRows(sequence, reader)
        return self._ahead[owner, layer].of(answer, candidates, device)

    def require_edits(self) -> None:
        """Check the edits made in the branches, at the end of the answer.

        Raises:
            InterventionError: An edit was invalid.
        """
        self._branches.require_edits()

    def replay(self, answer: Int[torch.Tensor, "row step"]) -> None:
        """Run each branch over a whole answer, in one block, when it is first requested.

        Args:
            answer: All tokens.
        """
        self._branches.replay(answer)

    def _logits_of(
        self, owner: ActiveIntervention, answer: torch.Tensor, device: torch.device, name: str
    ) -> torch.Tensor:
        return self._branches.logits(owner, name, answer).to(device, torch.float32)

    def _early(self, owner: ActiveIntervention, logits: torch.Tensor, at: int, layer: int) -> torch.Tensor:
        states = self._instrumentation.early_states
        if layer not in owner.session.early_layers or layer not in states:
            got, expected = f"layer {layer!r}", f"one of its early_layers {list(owner.session.early_layers)}"
            fix = "name the layer in early_layers before the first forward"
            raise InterventionError(message(got, expected, fix, task=f"mix logits with {owner.name}"))
        if self._unembedding is None:
            self._unembedding = self._verified(logits, states, at)
        found = self._unembedding(states[layer][:, at])
        return found.to(logits.device, torch.float32)

    def _verified(self, logits: torch.Tensor, states: Mapping[int, torch.Tensor], at: int) -> Unembedding:
        """The unembedding that reproduces the model's own log-probabilities from the states after its last layer."""
        hooks = self._instrumentation
        last = states[hooks.model_info.num_layers - 1][:, at]
        log_probs, ids = logits.log_softmax(-1).topk(min(_VERIFIED, logits.shape[-1]), -1)
        ways = unembeddings_of(hooks.model, hooks.family)
        return verified_unembedding(ways, states=last, ids=ids, log_probs=log_probs)


@contextmanager
def mixing_logits(instrumentation: Instrumentation, given: Mapping[str, Any], settings: Any) -> Iterator[None]:
    """Let the interventions that mix logits do so in one call of ``generate``, before its logits processors.

    Args:
        instrumentation: The model's.
        given: Arguments of ``generate`` by name.
        settings: The generation config in force.

    Yields:
        Nothing.

    Raises:
        UnsupportedOptionError: Options under which a token is not chosen from one row of logits a step.
        ModelInputError: No attention mask beside ids that hold the padding token.
    """
    mixing = instrumentation.mixing
    if not mixing:
        yield
        return
    with task(_TASK):
        _refuse(given, settings)
        prompt = _prompt(instrumentation, given, settings)
    beams = (settings.num_beams or 1) > 1
    logits_of = LogitMixing(instrumentation, mixing, prompt, beams=beams)
    core: Any = instrumentation.family.core(instrumentation.model)
    original = core._get_logits_processor  # noqa: SLF001 - the only place where a processor can be put before all others
    thread = threading.get_ident()

    def with_mixing(*args: Any, **options: Any) -> LogitsProcessorList:
        found = original(*args, **options)
        own = threading.get_ident() == thread and not in_branch()
        return LogitsProcessorList([_Mixing(logits_of), *found]) if own else found

    with shadowed(core, "_get_logits_processor", with_mixing):
        yield
    logits_of.require_edits()


class _Mixing(LogitsProcessor):
    """Mixes before every other processor; counts the steps, as not every model gives the prompt's ids."""

    def __init__(self, mixing: LogitMixing) -> None:
        self._mixing = mixing
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        answer = input_ids[:, input_ids.shape[1] - self._step :]
        self._step += 1
        return self._mixing.mixed(scores, answer)


def _refuse(given: Mapping[str, Any], settings: Any) -> None:
    for name in _REFUSED:
        value = given.get(name, getattr(settings, name, None))
        if value is not None:
            got, expected = f"{name}={value!r}"[:80], "tokens chosen from one row of logits at a time"
            raise UnsupportedOptionError(message(got, expected, f"leave {name} out"))
    if (settings.guidance_scale or 1) != 1:
        got, fix = f"guidance_scale={settings.guidance_scale}", "leave guidance_scale out"
        raise UnsupportedOptionError(message(got, "one contrast at a time", fix))


def prompt_arguments_of(given: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """What of the arguments of ``generate`` belongs to the prompts: ids, mask, and what the image has.

    Args:
        given: Arguments of ``generate`` by name.
        settings: The generation config in force.

    Returns:
        Inputs of the model by name, ``input_ids`` among them.
    """
    options = inspect.signature(GenerationMixin.generate).parameters.keys() | settings.to_dict().keys() | set(_CACHES)
    inputs = {name: value for name, value in given.items() if value is not None and name not in options}
    inputs["input_ids"] = given["input_ids"] if given.get("input_ids") is not None else given["inputs"]
    return inputs


def _prompt(instrumentation: Instrumentation, given: Mapping[str, Any], settings: Any) -> PromptInputs:
    inputs = prompt_arguments_of(given, settings)
    ids = inputs["input_ids"]
    if "attention_mask" not in inputs:
        pad = settings.pad_token_id
        if pad is not None and bool((ids == pad).any()):
            got, fix = "input_ids with padding tokens and no attention_mask", "pass the processor's attention_mask"
            raise ModelInputError(message(got, "both", fix))
        inputs["attention_mask"] = torch.ones_like(ids)
    return instrumentation.prompt_inputs(inputs)
