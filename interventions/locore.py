"""LocoRE: raises the attention on the most recently generated tokens."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import after_image, on_keys
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.compiled_edits import row_edit
from lvlmscope.runtime.intervention_config import InterventionConfig
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

    With a negative `beta` it does the reverse, the paper's artificial decay of what the model remembers of its own
    words, in our reading: the weights of the same keys are lowered. If that alone makes the model hallucinate, what
    LocoRE raises matters.

    Attributes:
        beta: Strength, -1 or more; 0 is the untouched model, to the last bit. The paper: 0.15 (LLaVA-1.5), 0.20
            (Qwen2-VL); 1.0 destroys the model. Below 0 with `mode="renorm"` or `"raw"` alone, as a negative score that
            is multiplied by less than 1 rises; -1 takes the keys away.
        window: Number of tokens, 1 or more.
        layers: Ints, a band of depth (two floats), or None for all.
        mode: `"logit"` multiplies the pre-softmax score, whatever its sign; `"renorm"` the weight, and renormalises
            the row (as adding `log(1 + beta)` to the score); `"raw"` the weight only, so that the row sums to more than
            1: eq. 9 to the letter.
        keys: `"answer"`: tokens generated so far (ours); `"after_image"`: all after the last image, the question's too
            (the paper's), which takes an image in the prompt.
        own_key: Whether the row's own key is the first of the window (ours), or the one before it (the paper's).
    """

    beta: Annotated[float, Range(ge=-1)] = 0.15
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

    @task("configure LocoRE")
    def validate(self) -> None:
        """A decay acts on weights.

        Raises:
            ModelInputError: A negative `beta` with `mode="logit"`.
        """
        if self.beta < 0 and self.mode == "logit":
            got, expected = f"beta={self.beta} with mode='logit'", "mode='renorm' or 'raw' for a decay"
            raise ModelInputError(message(got, expected, "choose one of them"))

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        return _LocoRESession(self, chosen_layers(self.layers, model_info))


@row_edit(by_span=False)
def _raised(rows: AttentionRows, factor: torch.Tensor, *scores: torch.Tensor, mode: str) -> torch.Tensor:
    """Weights with the window's keys raised by a factor; by `"logit"` the scores are."""
    weights = rows.weights
    if mode == "logit":
        # Scores that are raised keep the row's sum, which is not 1 with a sink or after an edit
        return (scores[0] * factor).softmax(-1) * weights.sum(-1, keepdim=True)
    raised = weights * factor
    return raised if mode == "raw" else raised * (weights.sum(-1, keepdim=True) / raised.sum(-1, keepdim=True))


class _LocoRESession(ImageSession):
    """Edits each row on its own; sums the window's mass before and after."""

    method = "LocoRE with keys='after_image'"
    has_compiled_edit = True

    def __init__(self, config: LocoRE, layers: tuple[int, ...]) -> None:
        super().__init__()
        self._config = config
        self._layers = layers
        self.row_layers = frozenset(layers if config.beta else ())
        self._forward: ForwardInfo | None = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Keep what the windows are found from."""
        self._forward = forward
        if self._config.keys == "after_image":
            super().begin_forward(forward)
        elif forward.num_rows:
            self.changes_all_heads = self._reached(forward, 0) > 0

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Raise the weights of the window's keys; rows without one before them are not edited."""
        forward = self._forward
        if rows.layer not in self._layers or self._config.beta == 0 or forward is None:
            return None
        keys, device = rows.weights.shape[-1], rows.weights.device
        if self.crosses(rows):
            return None
        window = forward.once(("window", id(self), keys, device), lambda: self._window(rows, forward))
        if window is None:
            return None
        edited = self._reinforced(rows, window)
        for name, weights in (("before", rows.weights), ("after", edited)):
            self.sums.add(name, rows.layer, window.part(weights))
        if self.changes_all_heads:
            self.sums.number("heads", rows.layer, math.prod(rows.weights.shape[:-1]))
            return edited
        self.sums.add("heads", rows.layer, window.touched.expand(rows.weights.shape[:-1]))
        return torch.where(window.touched.unsqueeze(-1), edited, rows.weights)

    def _reached(self, forward: ForwardInfo, row: int) -> int:
        """How many generated tokens lie in the window of one predicting row."""
        written = forward.past_length + forward.first_row + row - forward.prompt_length + self._config.own_key
        return min(max(written, 0), self._config.window)

    def _window(self, rows: AttentionRows, forward: ForwardInfo) -> "_Window | None":
        """Keys of the last tokens in a layer; None where no row has any."""
        keys, nearest = rows.weights.shape[-1], 0 if self._config.own_key else 1
        if self._config.keys == "after_image":
            if not self.sees_image:
                return None
            positions = torch.arange(forward.image_keys.shape[1], device=forward.image_keys.device)
            before = forward.row_positions.to(positions.device)[:, None] - positions
            near = (before >= nearest) & (before < nearest + self._config.window)
            recent = on_keys(after_image(forward)[:, None] & near, keys).to(rows.weights.device)
            return _Window(recent.unsqueeze(-2), None, 1 + self._config.beta, rows.weights.dtype)
        if rows.answer_keys is None or not self._reached(forward, forward.num_rows - 1):
            return None
        later = rows.answer_keys.flip(-1).cumsum(-1).flip(-1) - nearest  # the row's own key is its last answer key
        recent = rows.answer_keys & (later >= 1) & (later <= self._config.window)
        span = None
        if forward.num_rows == 1 and keys <= forward.image_keys.shape[1]:
            span = max(keys - nearest - self._reached(forward, 0), 0), keys - nearest
        return _Window(recent.unsqueeze(-2), span, 1 + self._config.beta, rows.weights.dtype)

    def _reinforced(self, rows: AttentionRows, window: "_Window") -> torch.Tensor:
        mode = self._config.mode
        given = (rows.scores,) if mode == "logit" else ()
        edited: torch.Tensor = _raised(rows, window.factor, *given, compiled=self.compiled, mode=mode)
        return edited

    def no_effect_reason(self) -> str | None:
        """Why no row was edited."""
        if self._config.beta == 0:
            return None
        if self._config.keys == "after_image":
            return "no token lay between the image and a predicting row" if self.sees_image else None
        return "no token came after a generated one; keys='after_image' acts on the first word of an answer, too"

    def report(self) -> dict[str, Any]:
        """Mean attention on the window before and after, over the edited rows, heads and layers (shares of 1)."""
        count = max(self.sums.total("heads"), 1)
        mass = {f"window_mass_{name}": float(self.sums.total(name)) / count for name in ("before", "after")}
        return mass | (super().report() if self._config.keys == "after_image" else {})


class _Window:
    """The keys that are raised in the layers of one forward.

    Attributes:
        keys: bool `[batch or 1, row, 1, key]`.
        factor: `1 + beta` on them, 1 elsewhere.
        touched: Rows with any, bool `[batch or 1, row, 1]`.
    """

    def __init__(self, keys: torch.Tensor, span: tuple[int, int] | None, factor: float, dtype: torch.dtype) -> None:
        """Hold the keys; `span` is the block that they are, where that is known of all rows."""
        self.keys = keys
        self.factor = torch.ones_like(keys, dtype=dtype).masked_fill(keys, factor)
        self._span = span

    @cached_property
    def touched(self) -> torch.Tensor:
        """As the class says."""
        return self.keys.any(-1)

    def part(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights on these keys: a slice, or a sum for each row and head."""
        if self._span is not None:
            return weights[..., slice(*self._span)]
        return weights.masked_fill(~self.keys, 0.0).sum(-1)
