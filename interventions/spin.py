"""SPIN: suppresses the heads of each row that attend to the image least."""

from dataclasses import dataclass
from math import floor
from typing import Annotated, Any, ClassVar, Literal

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.layer_bands import LayerSpec
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.layers_with_attention import chosen_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session

__all__ = ["SPIN"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class SPIN(InterventionConfig):
    """Image-guided head suppression, arXiv 2505.16411.

    In each predicting row and layer the heads are ranked by their attention on the image; the outputs of all but the
    first K are multiplied by `alpha`, after `a @ v` and before the output projection. As in the released code, rows
    before the last of a prompt keep their heads. That code ranks by the sum of the pre-softmax scores of the image's
    keys (`by="scores"`); the paper speaks of attention (`by="weights"`, our default).

    Attributes:
        suppressed: Share of the heads that are suppressed, in [0, 1]; K is what is left, rounded down.
        alpha: What is left of their outputs, in [0, 1]; 1 is the untouched model, to the last bit.
        layers: Ints, or a band of depth; all by default.
        by: What ranks the heads: `"weights"`, attention on the image, or `"scores"`.
    """

    suppressed: Annotated[float, Range(ge=0, le=1)] = 0.05
    alpha: Annotated[float, Range(ge=0, le=1)] = 0.08
    layers: LayerSpec = None
    by: Literal["weights", "scores"] = "weights"

    reference: ClassVar[str] = "arXiv 2505.16411"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2505.16411",
        from_paper="the gain of all but the first K heads, one ranking a row; share, gain and layers of its released "
        "command for captions of LLaVA-1.5",
        our_choices="the ranking by attention after the softmax, where the released code ranks by scores before it",
        cost="a ranking of the heads in each layer",
        search_space={"suppressed": (0.02, 0.5), "alpha": (0.0, 0.5)}
        | {"layers": [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.0, 1.0)], "by": ["weights", "scores"]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; raises `ModelInputError` for layers outside it or without attention."""
        # (1 - 0.7) * 10 is 3.0000000000000004: without the tolerance 4 heads would be kept
        kept = floor((1 - self.suppressed) * model_info.num_heads + 1e-9)
        return _SPINSession(self, chosen_layers(self.layers, model_info), kept)


class _SPINSession(ImageSession):
    """Gains of the heads of each row."""

    method = "SPIN"

    def __init__(self, config: SPIN, layers: tuple[int, ...], kept: int) -> None:
        super().__init__()
        self._config = config
        self._kept = kept
        self.row_layers = frozenset(layers if config.alpha < 1 else ())

    def head_gain(self, rows: AttentionRows) -> torch.Tensor | None:
        """`alpha` for all but the K heads with the most image attention; 1 in rows that see no image."""
        if not self.sees_image:
            return None
        amount = rows.image_mass if self._config.by == "weights" else rows.image_scores
        # Of equal heads the first are kept
        order = amount.argsort(dim=-1, descending=True, stable=True)
        kept = torch.zeros_like(amount, dtype=torch.bool).scatter(-1, order[..., : self._kept], value=True)
        suppressed = ~kept & rows.sees_image.unsqueeze(-1)
        self.sums.add("suppressed", rows.own_layer, suppressed)
        return torch.where(suppressed, self._config.alpha, 1.0).to(amount)

    def no_effect_reason(self) -> str | None:
        """Why no head was suppressed."""
        if not self.sees_image or self._config.alpha == 1:
            return None
        return f"suppressed={self._config.suppressed:g} leaves all {self._kept} heads; raise it"

    def report(self) -> dict[str, Any]:
        """Suppressed (row, head) pairs."""
        return super().report() | {"suppressed_heads": int(self.sums.total("suppressed"))}
