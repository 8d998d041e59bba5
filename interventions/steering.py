"""Steering: moves the residual stream away from the direction of hallucinated words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from lvlmscope.attention.layer_bands import LayerSpec, resolve_layers
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.directions import Directions
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import MethodCard, ModelInfo, Session

__all__ = ["Steering"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class Steering(InterventionConfig):
    """Steering of the residual stream, after VISTA (arXiv 2502.03628); the directions are ours.

    After each of the layers a predicting row's state h becomes `h - strength * |h| * d`, brought back to its length
    |h|, with d the layer's unit direction from grounded to hallucinated words (`Directions.between`). The paper makes
    its direction anew for each image, from the prompt with and without it.

    Attributes:
        directions: A file of `Directions.save`, or `Directions`; refused on another model than theirs.
        strength: Step as a share of the state's length, 0 or more; 0 is the untouched model, to the last bit.
        layers: Ints, or a band of depth; all by default, as in the paper.
    """

    directions: str | Path | Directions
    strength: Annotated[float, Range(ge=0)] = 0.1
    layers: LayerSpec = None

    reference: ClassVar[str] = "after arXiv 2502.03628; the directions are ours"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2502.03628",
        from_paper="a step along one direction a layer, the state's length kept, all layers",
        our_choices="directions as differences of means of hallucinated and grounded words, found once for a model",
        cost="one addition a layer; traces with hidden states once",
        search_space={"strength": (0.01, 0.5), "layers": [(0.0, 1.0), (0.3, 0.7), (0.6, 1.0)]},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; the file is read here.

        Raises:
            InterventionError: No such file, or directions of another model.
            ModelInputError: Layers outside the model.
        """
        given = self.directions
        directions = given if isinstance(given, Directions) else Directions.load(given)
        directions.require_model(model_info)
        return _SteeringSession(directions.vectors, self.strength, resolve_layers(self.layers, model_info.num_layers))


class _SteeringSession(Session):
    """Moves the states of predicting rows, at their own length."""

    def __init__(self, vectors: torch.Tensor, strength: float, layers: tuple[int, ...]) -> None:
        self._vectors, self._strength, self._layers = vectors, strength, frozenset(layers)

    def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor | None:
        """The predicting rows' states a step away from the direction, at their own length."""
        if layer not in self._layers or self._strength == 0:
            return None
        state = hidden[:, rows].float()
        length = state.norm(dim=-1, keepdim=True)
        moved = state - self._strength * length * self._vectors[layer].to(state.device)
        moved = moved * (length / moved.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        return hidden.index_copy(1, rows, moved.to(hidden.dtype))
