"""SGRS: rejects candidate tokens whose saliency on the preceding tokens is low, and samples again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from transformers import LogitsProcessor

from lvlmscope.attention.attention_rows import AttentionRows, at_least_float32
from lvlmscope.attention.gradient_times_attention import head_saliency, normalised_rows
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.errors import UnsupportedOptionError, message
from lvlmscope.hooks.gradient_path import ForwardGraph
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import after_image, on_keys
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.interventions.sgrs_rule import AcceptedScores, Choice, choose
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session

__all__ = ["SGRS"]

_REFUSED: Final[dict[str, Callable[[Any], bool]]] = {
    "num_beams": lambda value: value not in (None, 1),
    "num_return_sequences": lambda value: value not in (None, 1),
    "guidance_scale": lambda value: value not in (None, 1, 1.0),
    "assistant_model": lambda value: value is not None,
    "assistant_early_exit": lambda value: value is not None,
    "prompt_lookup_num_tokens": lambda value: value is not None,
    "custom_generate": lambda value: value is not None,
}


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class SGRS(InterventionConfig):
    """Saliency-guided rejection sampling, arXiv 2601.20279 eq. 6-7 and Alg. 1, with the released code's parameters.

    At each step `C` holds the k most probable tokens. The score of a candidate c is the mean, over the layers and over
    the keys in J, of the predicting row's saliency `|a d(-log p(c)) / d a|`: mean over heads, each row divided by its
    L2 norm. With `tau = alpha * mean of the last W accepted scores` (0 without any) up to R candidates are proposed in
    turn, and the first with `score >= tau` is accepted; when none is, the one of the highest score in C is taken. The
    accepted token's score joins the history, also one taken at last. The first token of an answer has no answer keys
    and so no score: its first proposal is accepted, and the history stays empty (our reading).

    All candidates share the forward that `generate` runs and one batched backward, which stops at the lowest of the
    layers. The model's own logits are those of the untouched model; only the choice among them changes. It comes after
    the other logits processors (suppressed tokens are never proposed) and leaves one token possible, so that
    `do_sample`, temperature, top-k and top-p have no effect: use `proposal="sample"` to sample.

    To the letter the paper's setting is `SGRS(J="after_image", proposal="sample")`: eq. 6 sums over all keys after the
    image, and Alg. 1 samples its proposals. The defaults `J="answer"` and `proposal="greedy"` are ours; they leave the
    first token of an answer, and so an answer of one word, as it was.

    The released script reads the row after the loss, whose gradient is identically zero, so that it never rejects; here
    it is the row that predicts.

    Attributes:
        k: Number of candidates, 1 or more.
        alpha: tau as a share of the mean accepted score, in [0, 1). 0 accepts every first proposal: with
            `"greedy"` that is greedy decoding, logits and tokens to the last bit.
        W: Number of accepted scores in the history, 1 or more; each sample of a batch has its own.
        R: Number of proposals, the first too, before the highest score is taken; from 1, and k when it is more.
        layers: Ints, or a band of depth; the default is layers 6-8 of 32.
        proposal: `"greedy"` proposes in the order of probability; `"sample"` draws without replacement from the
            renormalised probabilities of C, with torch's global generator as `generate` does.
        J: `"answer"`: keys of the tokens generated so far (ours); `"after_image"`: all keys after the last image, the
            question too (the paper's eq. 6, and the released script).
    """

    k: Annotated[int, Range(ge=1)] = 5
    alpha: Annotated[float, Range(ge=0, lt=1)] = 0.6
    W: Annotated[int, Range(ge=1)] = 5
    R: Annotated[int, Range(ge=1)] = 3
    layers: LayerSpec = (0.19, 0.27)
    proposal: Literal["greedy", "sample"] = "greedy"
    J: Literal["answer", "after_image"] = "answer"

    reference: ClassVar[str] = "arXiv 2601.20279 eq. 6-7, Alg. 1"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2601.20279",
        from_paper="the score, the threshold, rejection and fallback (eq. 6-7, Alg. 1); parameters of its code",
        our_choices="predicting row (the released script's has no gradient), first token; options: J, proposal",
        cost="+30-40 % a token in the paper, 3 times on the bundled model: a batched backward to the lowest layer",
        search_space={"alpha": (0.1, 0.99), "k": (2, 6), "R": (1, 5), "W": (1, 10), "J": ["answer", "after_image"]}
        | {"layers": [(0.19, 0.27), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        return _SGRSSession(self, chosen_layers(self.layers, model_info))


class _SGRSSession(ImageSession):
    """Keeps one forward's graph until its token is chosen, the accepted scores of each sample, and counts."""

    method = "SGRS with J='after_image'"
    chooses_tokens = True

    def __init__(self, config: SGRS, layers: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self._layers = layers
        self._graph: ForwardGraph | None = None
        self._keys: torch.Tensor | None = None
        self._history: AcceptedScores | None = None
        self._chosen: torch.Tensor | None = None
        self._finished: torch.Tensor | None = None
        self._ends: torch.Tensor | None = None
        self._totals: torch.Tensor | None = None  # what `_count` adds up; read when a report is asked for

    def begin_generate(self, options: Mapping[str, Any]) -> None:
        """Refuse options that choose tokens otherwise, and clear the last answer.

        Raises:
            UnsupportedOptionError: Beam search, several answers per prompt, or another model that proposes.
        """
        for name, refused in _REFUSED.items():
            if refused(options.get(name)):
                got, expected = f"{name}={options[name]!r}"[:80], "greedy or sampled answers, one per prompt"
                raise UnsupportedOptionError(message(got, expected, f"leave {name} out", task="generate with SGRS"))
        ends = options.get("eos_token_id")
        self._ends = None if ends is None else torch.as_tensor(ends).flatten()
        self._history = self._chosen = self._finished = self._graph = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Free the last graph; an image is needed only for keys after the image."""
        self._graph = None
        if self._config.J == "after_image":
            super().begin_forward(forward)
            self._keys = after_image(forward)

    def gradient_layers(self, forward: ForwardInfo) -> tuple[int, ...]:
        """The scored layers; none where no score can be computed or no candidate rejected."""
        answered = forward.past_length + forward.num_queries > forward.prompt_length
        scored = answered if self._config.J == "answer" else self.sees_image
        return self._layers if scored and self._config.alpha > 0 else ()

    def on_graph(self, graph: ForwardGraph) -> None:
        """Keep the graph until the token is chosen."""
        self._graph = graph

    def logits_processor(self) -> LogitsProcessor:
        """A processor that leaves one token for each sample."""
        return _Selector(self._select)

    def _select(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The chosen token of each sample, int64 ``[batch]``."""
        config = self._config
        log_probs, tokens = torch.log_softmax(scores.float(), -1).topk(min(config.k, scores.shape[-1]), -1)
        found = self._scores(tokens)
        if self._history is None:
            self._history = AcceptedScores(config.W, found[:, 0])
        choice = choose(
            found,
            _proposal_order(log_probs, config.proposal),
            (log_probs > float("-inf")).sum(-1).clamp_min(1),  # suppressed tokens are never proposed
            self._history.threshold(config.alpha),
            attempts=config.R,
        )
        self._history.add(choice.score)
        self._count(choice, self._running(ids[:, -1]))
        self._chosen = tokens.gather(-1, choice.index.unsqueeze(-1)).squeeze(-1)
        return self._chosen

    def _running(self, last: torch.Tensor) -> torch.Tensor:
        """Samples that have not ended: by an end token, or as generate wrote something else (padding)."""
        if self._finished is None or self._chosen is None:
            self._finished = torch.zeros_like(last, dtype=torch.bool)
            return ~self._finished
        self._finished = self._finished | (last != self._chosen)
        if self._ends is not None:
            self._ends = self._ends.to(last.device)
            self._finished = self._finished | torch.isin(self._chosen, self._ends)
        return ~self._finished

    def _count(self, choice: Choice, running: torch.Tensor) -> None:
        """Add up what the report is made of, on the device."""
        known = ~choice.score.isnan()
        numbers = running, choice.rejections, choice.fallback, choice.changed, known
        each = *numbers, choice.score.nan_to_num(0.0), choice.threshold * known
        counted = (torch.stack([part.double() for part in each]) * running).sum(-1)
        self._totals = counted if self._totals is None else self._totals + counted

    def _scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Each candidate's score ``[batch, candidate]``; NaN where there is none."""
        graph, self._graph = self._graph, None
        if graph is None:
            return torch.full(tokens.shape, float("nan"), device=tokens.device)
        slopes = torch.softmax(at_least_float32(graph.logits.detach()), -1).expand(tokens.shape[1], -1, -1).clone()
        # d(-log p(c)) / d logits = p - 1[c]
        slopes.scatter_add_(-1, tokens.T.to(slopes.device).unsqueeze(-1), slopes.new_full((*tokens.T.shape, 1), -1.0))
        per_layer = [
            _layer_score(graph.rows[layer], gradient, self._keys).to(slopes.device)
            for layer, gradient in graph.gradients(slopes).items()
            if layer in self._layers
        ]
        return torch.stack(per_layer).mean(0).T.to(tokens.device)

    def no_effect_reason(self) -> str | None:
        """Why no token was changed."""
        blind = self._config.J == "after_image" and not self.sees_image
        if self._config.alpha == 0 or self._totals is None or blind:
            return None
        tokens = int(self._totals.tolist()[0])
        return f"all {tokens} first proposals were accepted; raise alpha, or look at other layers" if tokens else None

    def report(self) -> dict[str, Any]:
        """Rejections, resamples per token, fallbacks, and mean scores and thresholds of the tokens that had one."""
        totals = [0.0] * 7 if self._totals is None else self._totals.tolist()
        tokens, rejections, fallbacks, changed, scored = (int(total) for total in totals[:5])
        return {
            "tokens": tokens,
            "rejections": rejections,
            "resamples_per_token": rejections / tokens if tokens else 0.0,
            "fallbacks": fallbacks,
            "changed_tokens": changed,
            "scored_tokens": scored,
            "mean_accepted_score": totals[5] / scored if scored else 0.0,
            "mean_threshold": totals[6] / scored if scored else 0.0,
            "changed": changed > 0,
        } | (super().report() if self._config.J == "after_image" else {})


class _Selector(LogitsProcessor):
    """Sets the scores of all tokens but the chosen one to -inf."""

    def __init__(self, select: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self._select = select

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[batch, vocabulary]``, -inf for all tokens but the chosen one."""
        chosen = self._select(input_ids, scores).unsqueeze(-1)
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(-1, chosen, scores.gather(-1, chosen))


def _proposal_order(log_probs: torch.Tensor, proposal: str) -> torch.Tensor:
    """Indices of the candidates in the order in which they are proposed, ``[batch, candidate]``."""
    if proposal == "greedy":
        return torch.arange(log_probs.shape[-1], device=log_probs.device).expand(log_probs.shape)
    # Sorting log p plus Gumbel noise draws without replacement from the renormalised p
    noise = -torch.empty_like(log_probs).exponential_().log()
    return (log_probs + noise).argsort(-1, descending=True)


def _layer_score(rows: AttentionRows, gradient: torch.Tensor, keys: torch.Tensor | None) -> torch.Tensor:
    """Mean normalised saliency of the last row over the keys, ``[candidate, batch]``; NaN without keys."""
    weights = rows.weights.detach()[:, -1]
    saliency = normalised_rows(head_saliency(weights, gradient).mean(-2))
    if keys is None:
        assert rows.answer_keys is not None
        counted = rows.answer_keys[:, -1].expand(saliency.shape[1:])
    else:
        counted = on_keys(keys, saliency.shape[-1]).to(saliency.device)
    if rows.visible_keys is not None:
        counted = counted & rows.visible_keys[:, -1]
    mean: torch.Tensor = (saliency * counted).sum(-1) / counted.sum(-1)
    return mean
