"""LocoRE: raises the attention on the most recently generated tokens."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.parameters import InterventionConfig, Range
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session

__all__ = ["LocoRE"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class LocoRE(InterventionConfig):
    """Local coherence reinforcement, arXiv 2601.20279 eq. 8-10 and Alg. 2 (the paper's; no code was released).

    The keys of the last `window` generated tokens before the current one get `gain = 1 + beta`, in all heads of the
    chosen layers. At beta 0.15 the edit is small: the report gives the window's attention mass before and
    after, so that a null result can be explained. A window length is not in the paper; 5 is our choice.

    Attributes:
        beta: Strength, 0 or more; 0 is the untouched model, to the last bit. The paper: 0.15 (LLaVA-1.5), 0.20
            (Qwen2-VL); 1.0 destroys the model.
        window: Number of generated tokens, 1 or more.
        layers: Ints, a band of depth (two floats), or None for all.
        mode: `"logit"` multiplies the pre-softmax score, whatever its sign; `"renorm"` the weight, and renormalises
            the row (as adding `log(1 + beta)` to the score); `"raw"` the weight only, so that the row sums to more than
            1: eq. 9 to the letter.
    """

    beta: Annotated[float, Range(ge=0)] = 0.15
    window: Annotated[int, Range(ge=1, noun="a number of tokens")] = 5
    layers: LayerSpec = None
    mode: Literal["logit", "renorm", "raw"] = "logit"

    reference: ClassVar[str] = "arXiv 2601.20279 eq. 8-10"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2601.20279",
        from_paper="gain 1 + beta on the last words' keys (eq. 8-10, Alg. 2), beta",
        our_choices="the window's length, the layers, multiplying scores rather than weights (an option)",
        cost="under 2 % in the paper; the values of edited heads once more",
        search_space={"beta": (0.02, 0.8), "window": (1, 12), "mode": ["logit", "renorm"]}
        | {"layers": [(0.0, 1.0), (0.28, 0.47), (0.0, 0.5), (0.5, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it."""
        return _LocoRESession(self, resolve_layers(self.layers, model_info.num_layers))


class _LocoRESession(Session):
    """Edits each row on its own; sums the window's mass before and after."""

    def __init__(self, config: LocoRE, layers: tuple[int, ...]) -> None:
        self._config = config
        self._layers = layers
        self._before = 0.0
        self._after = 0.0
        self._heads = 0

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Raise the weights of the window's keys; rows without a generated token before them are not edited."""
        beta, answer = self._config.beta, rows.answer_keys
        if rows.layer not in self._layers or beta == 0 or answer is None:
            return None
        recent = answer & (answer.flip(-1).cumsum(-1).flip(-1) <= self._config.window)
        window = recent.unsqueeze(-2).expand(rows.weights.shape)
        if not bool(window.any()):
            return None
        edited = self._reinforced(rows, window)
        touched = window.any(-1)
        self._before += torch.where(window, rows.weights, 0.0).detach().sum().item()
        self._after += torch.where(window, edited, 0.0).detach().sum().item()
        self._heads += int(touched.sum())
        return torch.where(touched.unsqueeze(-1), edited, rows.weights)

    def _reinforced(self, rows: AttentionRows, window: torch.Tensor) -> torch.Tensor:
        beta, weights = self._config.beta, rows.weights
        if self._config.mode == "logit":
            # log a is the score up to a constant of the row, so that this is the softmax of the raised scores
            raised = log_weights(weights) + torch.where(window, beta * rows.scores, 0.0)
            return raised.softmax(-1) * weights.sum(-1, keepdim=True)
        raised = torch.where(window, weights * (1 + beta), weights)
        if self._config.mode == "raw":
            return raised
        return raised * (weights.sum(-1, keepdim=True) / raised.sum(-1, keepdim=True))

    def no_effect_reason(self) -> str | None:
        """Why no row was edited."""
        return None if self._config.beta == 0 else "no word came after a generated word"

    def report(self) -> dict[str, Any]:
        """Mean attention on the window before and after, over the edited rows, heads and layers (shares of 1)."""
        count = max(self._heads, 1)
        return {"window_mass_before": self._before / count, "window_mass_after": self._after / count}
