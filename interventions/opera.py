"""OPERA's over-trust penalty: candidates that go on trusting one earlier token of the answer are made less probable."""

from dataclasses import dataclass
from math import log
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.layers_with_attention import attention_layers, chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["OPERA"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class OPERA(InterventionConfig):
    """The over-trust penalty of OPERA, arXiv 2311.17911 (our reading of section 3.2 and of the released code).

    The next token is one of the few most probable ones. Each candidate is run once, so that its own attention row is
    known. In a layer the rows of the answer's tokens and of the candidate are reduced to the largest weight over heads
    and made to sum to 1; `w_ij` is what the token i of the answer gives to the token j, within the last `window`
    tokens. A column whose weights stay large is a token that all later ones rely on:

        penalty = factor * max_j prod_{i >= j} scale * w_ij,   logit' = logit - alpha * penalty.

    As in the released code, of the first `image_steps` tokens the candidate's attention on the image is a reward
    instead: penalty = -sum of its image weights.

    The second half of the paper, retrospection-allocation (going back when the same column stays the largest), is not
    part of it: `generate` of transformers takes no token back. It works greedily, sampled and, as in the paper, under
    beams. It acts without an image, too.

    Attributes:
        alpha: Factor on the penalty, 0 or more; 0 is the untouched model, to the last bit.
        candidates: Number of tokens that are run, 2 or more; all others are excluded.
        scale: Factor on each weight; a column counts where its weights are above 1 / scale.
        factor: Factor on the product.
        window: Tokens of the answer that are looked at, the candidate among them.
        image_steps: Tokens at the beginning of the answer for which attention on the image is rewarded.
        limit: Largest penalty: with a long answer a product leaves the range of numbers.
        layer: Decoder layer; None for the last one with attention.
    """

    alpha: Annotated[float, Range(ge=0)] = 1.0
    candidates: Annotated[int, Range(ge=2)] = 5
    scale: Annotated[float, Range(gt=0)] = 50.0
    factor: Annotated[float, Range(gt=0)] = 1e-7
    window: Annotated[int, Range(ge=1)] = 512
    image_steps: Annotated[int, Range(ge=0)] = 10
    limit: Annotated[float, Range(gt=0)] = 10.0
    layer: int | None = None

    reference: ClassVar[str] = "arXiv 2311.17911 section 3.2"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2311.17911 (CVPR 2024)",
        from_paper="candidates, the largest weight over heads, the product over a column, scale 50, alpha 1; "
        "the factor 1e-7, the last layer and the reward of the first 10 tokens are the released code's",
        our_choices="float32 and a largest penalty, where the released code's half precision makes a product above "
        "65504 infinite; no retrospection-allocation; greedy and sampled answers beside beams",
        cost="a second sequence with a row for each candidate: a forward of that batch for each token, and as many "
        "caches of the prompt; a replay runs it step by step again",
        search_space={"alpha": (0.1, 10.0), "candidates": [3, 5, 8], "scale": (10.0, 100.0)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for a layer outside it or without attention."""
        named = attention_layers(model_info)[-1] if self.layer is None else self.layer
        return _OPERASession(self, chosen_layers((named,), model_info, name="layer")[0])


class _OPERASession(Session):
    """Penalises candidates by the attention that the answer's tokens give to each other."""

    def __init__(self, config: OPERA, layer: int) -> None:
        self._config = config
        self._layer = layer
        self.look_ahead_tokens = {layer: config.candidates} if config.alpha > 0 else {}
        self._past: torch.Tensor | None = None
        self._moved: torch.Tensor | None = None

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """Penalised logits of the candidates, and -inf for all other tokens."""
        config = self._config
        if config.alpha == 0:
            return None
        top, tokens = step.logits.topk(min(config.candidates, step.logits.shape[-1]), -1)
        rows = step.look_ahead(tokens, self._layer)
        strongest = rows.weights.amax(-2)
        share = strongest / strongest.sum(-1, keepdim=True)
        local = self._local(step, share)
        early = step.step < config.image_steps
        penalty = -_image_share(rows, share) if early else self._over_trust(local)
        kept = top - config.alpha * penalty
        moved = (kept.argmax(-1) > 0).sum()  # candidates come in order, the most probable first
        self._moved = moved if self._moved is None else self._moved + moved
        return torch.full_like(step.logits, float("-inf")).scatter(-1, tokens, kept)

    def _local(
        self, step: StepLogits, share: Float[torch.Tensor, "row candidate token key"]
    ) -> Float[torch.Tensor, "row candidate known known"]:
        """What the answer's last tokens and each candidate give to each other; the tokens' own is kept for each row."""
        length = step.step + 1
        answer = share[..., -length:]
        seen = answer[:, 0, :-1, :-1]
        if step.step and self._past is not None:
            past = self._past if step.came_from is None else self._past[step.came_from]
            seen = torch.cat([torch.nn.functional.pad(past, (0, length - 1 - past.shape[-1])), seen], 1)
        self._past = seen
        known = torch.nn.functional.pad(seen, (0, 1)).unsqueeze(1).expand(-1, share.shape[1], -1, -1)
        return torch.cat([known, answer[:, :, -1:]], 2)[..., -self._config.window :, -self._config.window :]

    def _over_trust(
        self, local: Float[torch.Tensor, "row candidate known known"]
    ) -> Float[torch.Tensor, "row candidate"]:
        """The largest product over a column, from the token itself on; sums of logarithms, as products overflow."""
        logs = (self._config.scale * local).clamp_min(torch.finfo(local.dtype).tiny).log()
        most = torch.tril(logs).sum(-2).amax(-1) + log(self._config.factor)
        return most.clamp_max(log(self._config.limit)).exp()

    def end_generate(self) -> None:
        """Forget the answer's tokens."""
        self._past = None

    def no_effect_reason(self) -> str | None:
        """Why no token was excluded."""
        return None if self._config.alpha == 0 else "no token was chosen while it was on"

    def report(self) -> dict[str, Any]:
        """Tokens whose most probable candidate was no longer the model's."""
        return {"moved_choices": 0 if self._moved is None else int(self._moved.item())}


def _image_share(
    rows: AttentionRows, share: Float[torch.Tensor, "row candidate token key"]
) -> Float[torch.Tensor, "row candidate"]:
    """What the candidate's row gives to the image."""
    return torch.where(rows.image_keys, share, 0.0)[:, :, -1].sum(-1)
