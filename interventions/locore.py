"""LocoRE: raises the attention on the most recently generated tokens."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows, log_weights
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.attended_layers import chosen_layers
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import after_image, crosses, on_keys
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.parameters import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session

__all__ = ["LocoRE"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class LocoRE(InterventionConfig):
    """Local coherence reinforcement, arXiv 2601.20279 eq. 8-10 and Alg. 2 (the paper's; no code was released).

    The keys of the last `window` tokens get `gain = 1 + beta`, in all heads of the chosen layers. At beta 0.15 the edit
    is small: the report gives the window's attention mass before and after, so that a null result can be explained.

    Which keys: by eq. 8 those of `{j : j after the image, j < P, P - j <= w}` with P the position of the last accepted
    token, which is the row's own: `keys="after_image", own_key=False`. Tokens of the question are among them, so that
    the first word of an answer is edited too. The defaults are ours: generated tokens alone, the row's own key among
    them; they leave the first token of an answer, and so an answer of one word, as it was. `mode="raw"` is eq. 9 to the
    letter; multiplying scores, the layers and the window's length, which the paper does not give, are our choice.

    Attributes:
        beta: Strength, 0 or more; 0 is the untouched model, to the last bit. The paper: 0.15 (LLaVA-1.5), 0.20
            (Qwen2-VL); 1.0 destroys the model.
        window: Number of tokens, 1 or more.
        layers: Ints, a band of depth (two floats), or None for all.
        mode: `"logit"` multiplies the pre-softmax score, whatever its sign; `"renorm"` the weight, and renormalises
            the row (as adding `log(1 + beta)` to the score); `"raw"` the weight only, so that the row sums to more than
            1: eq. 9 to the letter.
        keys: `"answer"`: tokens generated so far (ours); `"after_image"`: all after the last image, the question's too
            (the paper's), which takes an image in the prompt.
        own_key: Whether the row's own key is the first of the window (ours), or the one before it (the paper's).
    """

    beta: Annotated[float, Range(ge=0)] = 0.15
    window: Annotated[int, Range(ge=1, noun="a number of tokens")] = 5
    layers: LayerSpec = None
    mode: Literal["logit", "renorm", "raw"] = "logit"
    keys: Literal["answer", "after_image"] = "answer"
    own_key: bool = True

    reference: ClassVar[str] = "arXiv 2601.20279 eq. 8-10"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2601.20279",
        from_paper="gain 1 + beta on the last words' keys (eq. 8-10, Alg. 2), beta",
        our_choices="window's length, layers; options: scores rather than weights, generated tokens, own key",
        cost="under 2 % in the paper; the values of edited heads once more",
        search_space={"beta": (0.02, 0.8), "window": (1, 12), "mode": ["logit", "renorm"]}
        | {"layers": [(0.0, 1.0), (0.28, 0.47), (0.0, 0.5), (0.5, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        return _LocoRESession(self, chosen_layers(self.layers, model_info))


class _LocoRESession(ImageSession):
    """Edits each row on its own; sums the window's mass before and after."""

    method = "LocoRE with keys='after_image'"

    def __init__(self, config: LocoRE, layers: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self._layers = layers
        self._before = 0.0
        self._after = 0.0
        self._heads = 0
        self._recent: torch.Tensor | None = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Find each row's window after the image; the generated tokens' is found from the rows."""
        if self._config.keys == "answer":
            return
        super().begin_forward(forward)
        positions = torch.arange(forward.image_keys.shape[1], device=forward.image_keys.device)
        before = forward.row_positions.to(positions.device)[:, None] - positions
        nearest = 0 if self._config.own_key else 1
        near = (before >= nearest) & (before < nearest + self._config.window)
        self._recent = after_image(forward)[:, None] & near

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Raise the weights of the window's keys; rows without one before them are not edited."""
        if rows.layer not in self._layers or self._config.beta == 0:
            return None
        recent = self._window(rows)
        if recent is None:
            return None
        window = recent.unsqueeze(-2).expand(rows.weights.shape)
        if not bool(window.any()):
            return None
        edited = self._reinforced(rows, window)
        touched = window.any(-1)
        self._before += torch.where(window, rows.weights, 0.0).detach().sum().item()
        self._after += torch.where(window, edited, 0.0).detach().sum().item()
        self._heads += int(touched.sum())
        return torch.where(touched.unsqueeze(-1), edited, rows.weights)

    def _window(self, rows: AttentionRows) -> torch.Tensor | None:
        """Keys of the last tokens, bool broadcastable to ``[batch, row, key]``; None in a layer without them."""
        if self._config.keys == "after_image":
            if self._recent is None or crosses(rows):
                return None
            return on_keys(self._recent, rows.weights.shape[-1]).to(rows.weights.device)
        if rows.answer_keys is None:
            return None
        nearest = 0 if self._config.own_key else 1  # the row's own key is its last answer key
        later = rows.answer_keys.flip(-1).cumsum(-1).flip(-1) - nearest
        return rows.answer_keys & (later >= 1) & (later <= self._config.window)

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
        if self._config.beta == 0:
            return None
        if self._config.keys == "after_image":
            return "no token lay between the image and a predicting row" if self.sees_image else None
        return "no token came after a generated one; keys='after_image' acts on the first word of an answer, too"

    def report(self) -> dict[str, Any]:
        """Mean attention on the window before and after, over the edited rows, heads and layers (shares of 1)."""
        count = max(self._heads, 1)
        mass = {"window_mass_before": self._before / count, "window_mass_after": self._after / count}
        return mass | (super().report() if self._config.keys == "after_image" else {})
