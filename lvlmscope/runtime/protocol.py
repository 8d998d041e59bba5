"""The protocol of an intervention: a frozen configuration that starts sessions, and the hooks a session may answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from transformers import LogitsProcessor

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.hooks.gradient_path import ForwardGraph
from lvlmscope.runtime.forward_info import ForwardInfo
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["ForwardInfo", "Intervention", "MethodCard", "ModelInfo", "Session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCard:
    """Facts about a method; an intervention's class has one as `card`.

    Attributes:
        paper: The publication.
        from_paper: Parts taken from the paper.
        our_choices: Parts that are our reading or our choice.
        cost: Cost in addition to plain generation.
        search_space: Where `tune` looks: for each parameter `(low, high)` of two numbers, or a list of choices.
    """

    paper: str
    from_paper: str
    our_choices: str
    cost: str
    search_space: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The model that an intervention is attached to.

    Attributes:
        model: The whole model.
        decoder_layers: The decoder's layers in order.
        num_layers: L, number of decoder layers.
        num_heads: H, number of query heads.
        hidden_size: Width of the residual stream.
        family: Name of the model family.
    """

    model: torch.nn.Module
    decoder_layers: tuple[torch.nn.Module, ...]
    num_layers: int
    num_heads: int
    hidden_size: int
    family: str

    @property
    def layer_indices(self) -> tuple[int, ...]:
        """Numbers of all decoder layers."""
        return tuple(range(self.num_layers))


class Session:
    """An active intervention in one model. Every hook has a default that does nothing.

    Attributes:
        gain_rows: Where ``head_gain`` applies: "predicting" rows only, or "all" rows: those before the first
            predicting row get the gain of that row.
        chooses_tokens: Whether its logits processor leaves one token possible; there can be one such intervention at a
            time.
        row_layers: Layers in which ``edit_attention``, ``edit_prompt_attention`` and ``head_gain`` are called, None for
            all. Elsewhere the model's own kernel runs alone.
        changes_all_heads: Whether the edits of ``edit_attention`` in the running forward change every head of every
            predicting row. A decode step then does not run the kernel beside them, and a head whose weights stay equal
            all the same is right up to rounding only.
        early_layers: Layers whose states ``mix_logits`` may ask for as logits.
        look_ahead_tokens: By layer, for how many tokens a row ``mix_logits`` may look ahead; `estimate` counts them.
        has_compiled_edit: Whether the session's edit can run compiled (`lvlmscope.runtime.compiled_edits`).
        compiled: Whether it is to: set from outside, where a block asks for it.
    """

    gain_rows: Literal["predicting", "all"] = "predicting"
    chooses_tokens: bool = False
    row_layers: frozenset[int] | None = None
    changes_all_heads: bool = False
    has_compiled_edit: bool = False
    compiled: bool = False
    early_layers: tuple[int, ...] = ()
    look_ahead_tokens: Mapping[int, int] = MappingProxyType({})

    def begin_generate(self, options: Mapping[str, Any]) -> None:
        """Called at the start of ``generate``: refuse an option here, and reset state.

        Args:
            options: Settings in force: the generation config's, overridden by the arguments of ``generate``.
        """

    def end_generate(self) -> None:
        """Called once when ``generate`` ends, also when it raises: free what was kept for one answer.

        A session whose ``begin_generate`` refuses is told too, those after it are not. A replay does not call it.
        """

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Reset the state of a forward; called before the first layer of every forward that has a predicting row.

        Args:
            forward: The forward about to run.
        """

    def edit_attention(self, rows: AttentionRows) -> Float[torch.Tensor, "batch row head key"] | None:
        """New weights of the predicting rows of one layer.

        Args:
            rows: ``[batch, row, head, key]``, as edited by the interventions before.

        Returns:
            Weights of the same shape, None for no edit. Heads whose weights stay equal keep the kernel's output.
        """
        del rows
        return None

    def edit_prompt_attention(
        self, rows: AttentionRows, positions: Int[torch.Tensor, "row"]
    ) -> Float[torch.Tensor, "batch row head key"] | None:
        """New weights of rows of the prompt before its last one, which no token is predicted from.

        Called for a session that has it in the forward of a prompt, layer after layer, for some rows at a time, before
        ``edit_attention`` of the layer; in a replay wherever the prompt is run again. The weights of these rows are
        made for it alone: other sessions do not pay for them. Edits of padding are left out.

        Args:
            rows: ``[batch, row, head, key]``, as edited by the interventions before.
            positions: The column of each row in the sequence, padding counted, int64 ``[row]``.

        Returns:
            Weights of the same shape, None for no edit.
        """
        del rows, positions
        return None

    def head_gain(self, rows: AttentionRows) -> Float[torch.Tensor, "batch row head"] | None:
        """Gain on head outputs of one layer, after ``a @ v`` and before the output projection.

        Args:
            rows: ``[batch, row, head, key]``, after all attention edits.

        Returns:
            Gain ``[batch, row, head]``, None for no edit.
        """
        del rows
        return None

    def edit_hidden(
        self, layer: int, hidden: Float[torch.Tensor, "batch query hidden"], rows: Int[torch.Tensor, "row"]
    ) -> Float[torch.Tensor, "batch query hidden"] | None:
        """New residual stream after one decoder layer.

        Args:
            layer: Layer number; -1 is the embedding output before the first layer.
            hidden: ``[batch, query, hidden]``, all query rows.
            rows: Indices of the predicting rows among them, int64 ``[row]``.

        Returns:
            A tensor of the same shape, None for no edit.
        """
        del layer, hidden, rows
        return None

    def edit_mlp(
        self, layer: int, output: Float[torch.Tensor, "batch query hidden"], rows: Int[torch.Tensor, "row"]
    ) -> Float[torch.Tensor, "batch query hidden"] | None:
        """New output of the MLP of one decoder layer, or of its block of experts.

        It is the module's own output, in the unit of the residual stream: the layer adds it to the stream, in some
        families after a norm (Gemma) or a factor (Granite).

        Args:
            layer: Layer number.
            output: ``[batch, query, hidden]``, all query rows.
            rows: Indices of the predicting rows among them, int64 ``[row]``.

        Returns:
            A tensor of the same shape, None for no edit.
        """
        del layer, output, rows
        return None

    def gradient_layers(self, forward: ForwardInfo) -> tuple[int, ...]:
        """Layers whose rows are to be attached to the logits' autograd graph; called in every forward of ``generate``.

        From the lowest of them on the forward runs with gradients; its logits are bit-identical.

        Args:
            forward: The forward about to run.

        Returns:
            Layer numbers, none for a forward without gradients.
        """
        del forward
        return ()

    def on_graph(self, graph: ForwardGraph) -> None:
        """Called at the end of a forward for which ``gradient_layers`` named layers, before ``end_forward``.

        Args:
            graph: Rows and logits; drop it before the next forward to free its memory.
        """

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs | Callable[[], PromptInputs]]:
        """Other inputs under which ``mix_logits`` wants the logits of the same steps; called once an answer.

        A session of its own is asked before it where ``estimate`` or ``max_memory`` counts what they take.

        Args:
            prompt: The prompts of ``generate``, or of a replay, with methods that make others of them.

        Returns:
            Prompts by a name for ``StepLogits.branch``, or what makes one when it is first asked for. Each becomes a
            sequence with a cache of its own, whose forwards count neither as generation nor as this intervention's;
            those of equal prompts are one sequence, and those with the same kinds of inputs run in one batch.
        """
        del prompt
        return {}

    def mix_logits(self, step: StepLogits) -> Float[torch.Tensor, "row vocabulary"] | None:
        """New logits of the next token, before every logits processor; called for each token of an answer.

        A replay calls it again for the tokens of the answer. The trace then has the log-probabilities of both.

        Args:
            step: The model's logits, and those of other sequences and of earlier layers on request.

        Returns:
            Logits of the same shape, -inf for a token that may not be chosen; None for no change.
        """
        del step
        return None

    def logits_processor(self) -> LogitsProcessor | None:
        """A processor that ``generate`` is to use while the intervention is on, None for none."""
        return None

    def end_forward(self, logits: Float[torch.Tensor, "batch kept_row vocabulary"]) -> None:
        """Called after every forward that has a predicting row.

        Args:
            logits: The forward's logits ``[batch, kept rows, vocabulary]``.
        """

    def no_effect_reason(self) -> str | None:
        """Why nothing was changed; called when a block ends without a change, for a warning.

        Returns:
            The reason; None, for no warning, when no change was configured (strength 0) or a warning was given already.
        """
        return None

    def report(self) -> dict[str, Any]:
        """Results of the session, in addition to the counts kept for every intervention (JSON values)."""
        return {}


@runtime_checkable
class Intervention(Protocol):
    """An intervention's configuration: frozen, and independent of the model; `start` gives a session in one."""

    def start(self, model_info: ModelInfo) -> Session:
        """A new session for one model."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, reference and parameters (JSON values)."""
        ...
