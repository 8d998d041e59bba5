"""Placebo: edits as large as an intervention's own, at random places, to tell its aim from its size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

import torch
from transformers import LogitsProcessor

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, message
from lvlmscope.hooks.gradient_path import ForwardGraph
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.forward_sums import ForwardSums
from lvlmscope.interventions.repeatable_noise import mixed, normal, uniform
from lvlmscope.interventions.sgrs import SGRS
from lvlmscope.runtime.active_set import overrides
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import ForwardInfo, Intervention, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["Placebo"]

_HEADS, _KEYS, _STREAM, _TOKENS, _LOGITS = range(5)  # what a random number is for
_EXCHANGED: Final = 50  # tokens whose changes are exchanged
_REJECTS: Final = 0.5  # chance of a token to be replaced while one rejection is owed; with more it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Placebo(InterventionConfig):
    """The control of an intervention: it edits as many heads, layers and rows by as much, but at random.

    An intervention aims where it does more than its placebo. Its session runs on the placebo's own forwards and decides
    in which layers and rows something is edited, how many heads, and by how much; what is random depends on the hook:

    - attention weights (D-LEAF, CLVA, LocoRE): other heads of the same layer, the same ones throughout; each is
      interpolated towards a random reordering of its own weights over the keys it sees, until the sum of absolute
      changes is that of the method's edit, or the reordering is reached (the report gives the share reached).
    - gains of head outputs (HeadRescaling): the same gains on other heads of the same layer.
    - the residual stream (HalluRNN): a change of the same norm in a random direction.
    - mixed logits (VCD, ICD, M3ID, PAI, AGLA, OPERA, DoLa, DeCo): the changes of the log-probabilities of the 50 most
      probable tokens that the method leaves possible are exchanged among these; what it excludes, and all others, are
      its own.
    - tokens (SGRS with greedy proposals): for each token that the method replaces, one is replaced at that step or a
      later one, by another of the k candidates.

    The layers and rows are not random: where they are all that a method chooses, its placebo differs little from it.
    Random numbers follow from the seed, the layer, the row's place in the answer and its token, so that batches,
    single samples and replays agree.

    Attributes:
        intervention: The intervention whose edits are imitated.
        seed: Of the random numbers.
    """

    intervention: Intervention
    seed: Annotated[int, Range(ge=0)] = 0

    reference: ClassVar[str] = "a control of lvlmscope's own"

    def validate(self) -> None:
        """The intervention is one of which a placebo is known.

        Raises:
            InterventionError: SGRS that samples its proposals, of which it cannot be seen which were rejected.
        """
        if isinstance(self.intervention, SGRS) and self.intervention.proposal != "greedy":
            got = "SGRS(proposal='sample'), whose rejections do not show in the token chosen"
            fix = "evaluate it without a placebo, or propose greedily"
            raise InterventionError(message(got, "proposal='greedy'", fix, task="make a placebo"))

    def describe(self) -> dict[str, Any]:
        """Name, reference, seed, and what the intervention describes (JSON values)."""
        parameters = {"intervention": self.intervention.describe(), "seed": self.seed}
        return {"name": "Placebo", "reference": self.reference, "parameters": parameters}

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model.

        Raises:
            InterventionError: The intervention changes logits in a way of which no placebo is known.
        """
        inner = self.intervention.start(model_info)
        processes = type(inner).logits_processor is not Session.logits_processor
        if processes and not isinstance(self.intervention, SGRS):
            got = f"{type(self.intervention).__name__}, which has a logits processor"
            expected = "an intervention that edits attention, head outputs or the residual stream, or SGRS"
            fix = "evaluate it without a placebo"
            raise InterventionError(message(got, expected, fix, task="make a placebo"))
        unknown = [name for name in ("edit_mlp", "edit_prompt_attention") if overrides(inner, name)]
        if unknown:
            got = f"{type(self.intervention).__name__}, which has {' and '.join(unknown)}"
            expected = "an intervention that edits predicting rows, head outputs or the residual stream"
            raise InterventionError(message(got, expected, "evaluate it without a placebo", task="make a placebo"))
        mixes = type(inner).mix_logits is not Session.mix_logits
        return (_MixingPlaceboSession if mixes else _PlaceboSession)(self, inner)


class _PlaceboSession(Session):
    """Asks the method's session for its edits, and makes random ones of their size."""

    def __init__(self, config: Placebo, inner: Session) -> None:
        self._config, self._inner = config, inner
        self.gain_rows = inner.gain_rows
        self.chooses_tokens = inner.chooses_tokens
        self.row_layers = inner.row_layers
        self.early_layers = inner.early_layers
        self.look_ahead_tokens = inner.look_ahead_tokens
        self._rows = torch.zeros(0, 0, dtype=torch.int64)
        self._sums = ForwardSums()
        self._orders: dict[tuple[int, torch.device], torch.Tensor] = {}
        method = config.intervention
        self._rejection = _RandomRejection(config.seed, method.k) if isinstance(method, SGRS) else None

    def begin_generate(self, options: Mapping[str, Any]) -> None:
        """The method's, and no rejections owed."""
        self._inner.begin_generate(options)
        if self._rejection is not None:
            self._rejection.begin(options)

    def end_generate(self) -> None:
        """The method's."""
        self._inner.end_generate()

    def begin_forward(self, forward: ForwardInfo) -> None:
        """The method's; a state of random numbers for each row, int64 ``[batch, row]``."""
        self._inner.begin_forward(forward)
        self.row_layers = self._inner.row_layers  # some read other layers in other forwards
        places = forward.row_positions
        step = places - forward.prompt_length
        self._rows = mixed(mixed(self._config.seed, step), forward.token_ids[:, places])

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Changes as large as the method's, in other heads and on other keys."""
        edited = self._inner.edit_attention(rows)
        if edited is None:
            return None
        weights = rows.weights
        size = (edited - weights).abs().sum(-1).detach()[..., self._order(rows)]
        towards = self._reordered(rows)
        reach = (towards - weights).abs().sum(-1).detach()
        share = torch.where(reach > 0, size / reach.clamp_min(1e-12), 0.0).clamp_max(1.0)
        self._sums.add("asked", rows.own_layer, size)
        self._sums.add("moved", rows.own_layer, share * reach)
        moved = weights + share.unsqueeze(-1) * (towards - weights)
        return torch.where((share > 0).unsqueeze(-1), moved, weights)

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        """The method's gains on other heads."""
        gain = self._inner.head_gain(rows)
        return None if gain is None else gain[..., self._order(rows)]

    def _order(self, rows: AttentionRows) -> torch.Tensor:
        """A random order of the heads of a layer, the same throughout, int64 ``[head]``."""
        layer, device = rows.own_layer, rows.weights.device
        if (layer, device) not in self._orders:
            state = mixed(mixed(mixed(self._config.seed, _HEADS), layer), torch.arange(rows.weights.shape[-2]))
            self._orders[layer, device] = uniform(state).argsort().to(device)
        return self._orders[layer, device]

    def _reordered(self, rows: AttentionRows) -> torch.Tensor:
        """The weights in a random order over the keys that each row sees; keys are counted from its last one."""
        weights = rows.weights
        visible = (weights > 0).any(-2) if rows.visible_keys is None else rows.visible_keys
        visible = visible.expand(*weights.shape[:2], -1)
        rank = visible.flip(-1).cumsum(-1).flip(-1)
        state = mixed(mixed(self._rows, _KEYS), rows.own_layer).to(weights.device)
        heads = mixed(state.unsqueeze(-1), torch.arange(weights.shape[-2], device=weights.device))
        noise = uniform(mixed(heads.unsqueeze(-1), rank.unsqueeze(-2)))
        drawn = noise.masked_fill(~visible.unsqueeze(-2), 2.0).argsort(-1)
        last = weights.shape[-1] + 1
        own = rank.masked_fill(~visible, last).sort(dim=-1, stable=True).indices.unsqueeze(-2).expand_as(drawn)
        return torch.zeros_like(weights).scatter(-1, own, weights.gather(-1, drawn))

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        """A change of the norm of the method's in a random direction, in the predicting rows."""
        edited = self._inner.edit_hidden(layer, hidden, rows)
        if edited is None:
            return None
        size = (edited - hidden)[:, rows].float().norm(dim=-1, keepdim=True)
        state = mixed(mixed(self._rows, _STREAM), layer).to(hidden.device)
        direction = normal(mixed(state.unsqueeze(-1), torch.arange(hidden.shape[-1], device=hidden.device)))
        change = size * direction / direction.norm(dim=-1, keepdim=True)
        self._sums.add("asked", layer, size)
        self._sums.add("moved", layer, change.norm(dim=-1))
        moved = hidden.clone()
        moved[:, rows] = hidden[:, rows] + change.to(hidden.dtype)
        return moved

    def gradient_layers(self, forward: ForwardInfo) -> tuple[int, ...]:
        """The method's: it still scores its candidates."""
        return self._inner.gradient_layers(forward)

    def on_graph(self, graph: ForwardGraph) -> None:
        """The method's."""
        self._inner.on_graph(graph)

    def logits_processor(self) -> LogitsProcessor | None:
        """Replaces as many tokens as the method's processor would."""
        method = self._inner.logits_processor()
        if method is None or self._rejection is None:
            return None
        self._rejection.method = method
        return self._rejection

    def end_forward(self, logits: torch.Tensor) -> None:
        """The method's; add up what the layers gave."""
        self._inner.end_forward(logits)
        self._sums.settle()

    def no_effect_reason(self) -> str | None:
        """The method's reason."""
        return self._inner.no_effect_reason()

    def report(self) -> dict[str, Any]:
        """Share of the asked change that was made, and the method's own report on the placebo's forwards."""
        report: dict[str, Any] = {"method": self._inner.report()}
        asked, moved = self._sums.total("asked"), self._sums.total("moved")
        report["change_reached"] = moved / asked if asked else 1.0
        if self._rejection is not None:
            owed, replaced = self._rejection.counts
            report |= {"replaced_by_method": owed, "replaced_tokens": replaced, "changed": replaced > 0}
        return report


class _MixingPlaceboSession(_PlaceboSession):
    """That of a method that mixes logits."""

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs | Callable[[], PromptInputs]]:
        """The method's: it still compares with its own sequences."""
        return self._inner.branches(prompt)

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The method's changes, exchanged among the most probable tokens."""
        mixed_logits = self._inner.mix_logits(step)
        if mixed_logits is None:
            return None
        own = step.logits.log_softmax(-1)
        change = mixed_logits.log_softmax(-1) - own
        tokens = own.topk(min(_EXCHANGED, own.shape[-1]), -1).indices
        last = step.answer[:, -1] if step.step else step.answer.new_zeros(len(step.answer))
        state = mixed(mixed(mixed(self._config.seed, _LOGITS), step.step), last.to(own.device))
        noise = uniform(mixed(state.unsqueeze(-1), torch.arange(tokens.shape[-1], device=own.device)))
        excluded = change.gather(-1, tokens) == float("-inf")
        drawn = tokens.gather(-1, noise.masked_fill(excluded, 2.0).argsort(dim=-1, stable=True))
        places = tokens.gather(-1, excluded.int().argsort(dim=-1, stable=True))
        return own + change.scatter(-1, places, change.gather(-1, drawn))


class _RandomRejection(LogitsProcessor):
    """Leaves one token for each sample: the most probable one, or another candidate while a rejection is owed.

    Nothing is read from the device: what is owed, who has ended and the counts stay there.
    """

    def __init__(self, seed: int, candidates: int) -> None:
        self.method: LogitsProcessor | None = None
        self._seed, self._candidates = seed, candidates
        self._ends: torch.Tensor | None = None
        self._owed: torch.Tensor | None = None
        self._finished: torch.Tensor | None = None
        self._step = 0
        self._counts: torch.Tensor | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Tokens that the method replaced, and those replaced here; this waits for the device."""
        owed, replaced = (0, 0) if self._counts is None else self._counts.tolist()
        return owed, replaced

    def begin(self, options: Mapping[str, Any]) -> None:
        """A new answer: nothing is owed, no sample has ended."""
        ends = options.get("eos_token_id")
        self._ends = None if ends is None else torch.as_tensor(ends).flatten()
        self._owed = self._finished = None
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[batch, vocabulary]``, -inf for all tokens but the chosen one."""
        assert self.method is not None
        first, meant = scores.argmax(-1), self.method(input_ids, scores).argmax(-1)
        top, tokens = scores.topk(min(self._candidates, scores.shape[-1]), -1)
        others = (top > float("-inf")).sum(-1) - 1  # suppressed tokens are no candidates
        running = self._running(input_ids[:, -1])
        state = mixed(mixed(mixed(self._seed, _TOKENS), self._step), input_ids[:, -1])
        owed = (meant != first) & running
        waiting = owed.long() if self._owed is None else self._owed + owed
        due = (waiting > 1) | (uniform(state) < _REJECTS)
        replaced = (waiting > 0) & due & (others > 0) & running
        rank = 1 + (uniform(mixed(state, 1)) * others).long()
        other = tokens.gather(-1, rank.clamp_max(tokens.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)
        self._owed = waiting - replaced.long()
        counted = torch.stack([owed, replaced]).sum(-1)
        self._counts = counted if self._counts is None else self._counts + counted
        self._step += 1
        kept = torch.where(replaced, other, first).unsqueeze(-1)
        return torch.full_like(scores, float("-inf")).scatter(-1, kept, scores.gather(-1, kept))

    def _running(self, last: torch.Tensor) -> torch.Tensor:
        """Samples that no end token has ended."""
        if self._finished is None:
            self._finished = torch.zeros_like(last, dtype=torch.bool)
        elif self._ends is not None:
            self._ends = self._ends.to(last.device)
            self._finished = self._finished | torch.isin(last, self._ends)
        return ~self._finished
