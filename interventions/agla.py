"""AGLA-like: adds the logits of an image in which only the tokens that the prompt attends to most are left."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.contrastive_logits import plausible_only
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import on_positions
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits

__all__ = ["AGLA"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class AGLA(InterventionConfig):
    """Assembly of global and local attention, after arXiv 2406.12718 (our reading; not the paper's mask).

    `logits(image) + alpha * logits(masked image)` over the tokens whose probability under the whole image is at least
    beta times that of the most probable one. The paper masks pixels by another model's image-text matching; here the
    model masks its own image tokens: the share `kept` that the prompt's last row attends to most, over all layers and
    heads, is kept; the others get the mean embedding of the prompt's image tokens, in a second sequence.

    Attributes:
        alpha: Weight of the masked image's logits, 0 or more; 0 leaves all logits as they are.
        beta: Least probability of a token as a share of the largest, in [0, 1).
        kept: Share of the image tokens that keep their embeddings, in (0, 1]; one at least.
    """

    alpha: Annotated[float, Range(ge=0)] = 2.0
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.5
    kept: Annotated[float, Range(gt=0, le=1)] = 0.5

    reference: ClassVar[str] = "after arXiv 2406.12718; the mask is ours"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2406.12718",
        from_paper="the sum of the logits of whole and masked image, the plausibility constraint, alpha, beta",
        our_choices="the mask: image tokens by the prompt's own attention, in place of pixels by another model",
        cost="rows of every layer in the prompt's forward, and a second sequence",
        search_space={"alpha": (0.2, 3.0), "beta": (0.05, 0.7), "kept": (0.1, 0.9)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model."""
        return _AGLASession(self, model_info)


class _AGLASession(ImageSession):
    """Sums the attention of the prompt's last row, and adds the logits of the masked image."""

    method = "AGLA"

    def __init__(self, config: AGLA, model_info: ModelInfo) -> None:
        super().__init__()
        self._config = config
        self._every = frozenset(model_info.layer_indices if config.alpha > 0 else ())
        self.row_layers = self._every
        self._forward: ForwardInfo | None = None
        self._looked: torch.Tensor | None = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Rows are read in the forward that ends the prompt, and left alone in the others."""
        super().begin_forward(forward)
        prompt = forward.past_length < forward.prompt_length
        self.row_layers = self._every if prompt else frozenset()
        self._forward = forward
        if prompt:
            self._looked = None

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Add up what the prompt's last row attends to; nothing is edited."""
        if self.sees_image:
            assert self._forward is not None
            first = rows.image_weights[:, 0].sum(-2)
            size = self._forward.past_length + self._forward.num_queries
            found = on_positions(first, size)[..., : self._forward.prompt_length]
            self._looked = found if self._looked is None else self._looked + found.to(self._looked.device)
        return None

    def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs | Callable[[], PromptInputs]]:
        """The prompt with the image tokens blanked that its last row attends to least."""
        seen = self._config.alpha > 0 and prompt.has_image
        return {"masked": lambda: prompt.with_interventions(_Blanked(self._hidden(prompt)))} if seen else {}

    def _hidden(self, prompt: PromptInputs) -> torch.Tensor:
        assert self._looked is not None
        image = prompt.image_keys
        each = len(self._looked) // len(image)  # beams of a sample have seen the same prompt
        looked = self._looked[::each].to(image.device).masked_fill(~image, -1.0)
        rank = looked.argsort(dim=-1, descending=True, stable=True).argsort(-1)
        kept = (image.sum(-1, keepdim=True) * self._config.kept).ceil().clamp_min(1)
        hidden: torch.Tensor = image & (rank >= kept)
        return hidden

    def mix_logits(self, step: StepLogits) -> torch.Tensor | None:
        """The sum of both logits, and -inf for tokens that are not plausible."""
        if not self.sees_image or self._config.alpha == 0:
            return None
        mixed = step.logits + self._config.alpha * step.branch("masked")
        return plausible_only(mixed, step.logits, beta=self._config.beta)


class _Blanked:
    """Gives some image tokens of a prompt the mean embedding of its image."""

    def __init__(self, keys: torch.Tensor) -> None:
        self._keys = keys

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model."""
        del model_info
        return _BlankedSession(self._keys)

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"name": "AGLA, masked image"}


class _BlankedSession(Session):
    """Blanks embeddings in the prompt's forward."""

    def __init__(self, keys: torch.Tensor) -> None:
        self._keys = keys
        self._image: torch.Tensor | None = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """The prompt's forward alone has image tokens."""
        self._image = forward.image_keys if forward.is_prompt else None

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        """Blank the embeddings."""
        del rows
        if layer != -1 or self._image is None:
            return None
        each = len(hidden) // len(self._keys)  # beams of a sample have one prompt
        keys = self._keys.repeat_interleave(each, 0).to(hidden.device).unsqueeze(-1)
        image = self._image.to(hidden.device).unsqueeze(-1)
        mean = (hidden.float() * image).sum(1, keepdim=True) / image.sum(1, keepdim=True).clamp_min(1)
        return torch.where(keys, mean.to(hidden.dtype), hidden)
