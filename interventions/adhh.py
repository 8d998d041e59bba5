"""AD-HH: removes attention on the text from hallucination heads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.image_layout import after_last
from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interventions.image_session import ImageSession
from lvlmscope.interventions.key_positions import after_image, on_keys
from lvlmscope.interventions.layers_with_attention import attention_layers
from lvlmscope.interventions.registry import intervention
from lvlmscope.interventions.word_steps import difference_of_means
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session
from lvlmscope.traces.requirements import require_all_keys
from lvlmscope.traces.trace import Trace

__all__ = ["ADHH"]


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class ADHH(InterventionConfig):
    """Adaptive deactivation of hallucination heads, Yang et al. 2025, ICLR (our reading).

    A predicting row of a hallucination head whose attention on the text after the image is above `threshold` loses that
    attention: these weights become 0, and the others are rescaled to the row's sum. The paper finds the heads by
    attributing hallucinated words to heads; `from_traces` takes those that attend to the text more in the rows that
    predict hallucinated words than in those of grounded ones (our choice).

    Attributes:
        heads: The heads as `"layer.head"`, such as `("3.5", "10.0")`; none is the untouched model, to the last bit.
        threshold: Least attention on the text that is taken away, in [0, 1].
    """

    heads: Sequence[str]
    threshold: Annotated[float, Range(ge=0, le=1)] = 0.4

    reference: ClassVar[str] = (
        "Yang et al. 2025, Understanding and Mitigating Hallucination in LVLMs via Modular Attribution"
    )
    card: ClassVar[MethodCard] = MethodCard(
        paper="Yang et al., ICLR 2025, modular attribution and intervention",
        from_paper="hallucination heads, their attention on the text removed where it is above a threshold",
        our_choices="text as all keys after the image, the rest renormalised, heads by their attention in traces",
        cost="one comparison in each layer that has such heads",
        search_space={"threshold": (0.1, 0.9)},
    )

    def validate(self) -> None:
        """Every head is a layer's number, a point, and a head's number.

        Raises:
            ModelInputError: One is not.
        """
        for head in self.heads:
            parts = head.split(".")
            if len(parts) != 2 or not all(part.isdecimal() for part in parts):
                got, fix = f"heads={list(self.heads)!r}"[:80], "write layer 3's head 5 as '3.5'"
                raise ModelInputError(message(got, "heads as 'layer.head'", fix, task="configure ADHH"))

    @classmethod
    @task("configure ADHH")
    @checked
    def from_traces(
        cls,
        traces: Sequence[Trace],
        *,
        hallucinated: Sequence[Collection[int]],
        grounded: Sequence[Collection[int]],
        count: Annotated[int, Range(ge=1)] = 20,
        **changes: Any,
    ) -> Self:
        """The heads whose mean attention on the text is larger for hallucinated words than for grounded ones.

        Args:
            traces: Answers of one model, with all keys kept.
            hallucinated: Steps of hallucinated words, for each trace; `label_words` finds them.
            grounded: Steps of grounded words, for each trace.
            count: Number of heads; the paper takes 20 of LLaVA-1.5's 1,024.
            **changes: Parameters that are to differ.

        Returns:
            The intervention.

        Raises:
            InterventionError: Another number of lists than of traces, or no word of one kind.
            ModelInputError: An object that is not a trace, a trace without an image, or more heads than the model has.
        """
        more = difference_of_means(traces, _text_mass, hallucinated=hallucinated, grounded=grounded)
        if not 1 <= count <= more.numel():
            got, fix = f"count={count}", "take fewer"
            raise ModelInputError(message(got, f"1 to {more.numel()} heads", fix))
        layers, each = traces[0].layer_indices, more.shape[1]
        best = more.flatten().topk(count).indices.tolist()
        return cls(heads=tuple(f"{layers[place // each]}.{place % each}" for place in best), **changes)

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model.

        Raises:
            ModelInputError: A head that the model does not have, or in a layer without attention.
        """
        chosen: dict[int, list[int]] = {}
        layers = attention_layers(model_info)
        for name in self.heads:
            layer, head = map(int, name.split("."))
            if layer not in layers or head >= model_info.num_heads:
                expected = f"layers {', '.join(map(str, layers))}, heads 0 to {model_info.num_heads - 1}"
                raise ModelInputError(message(f"head {name}", expected, "choose among these", task="switch on ADHH"))
            chosen.setdefault(layer, []).append(head)
        return _ADHHSession(self.threshold, chosen, model_info.num_heads)


class _ADHHSession(ImageSession):
    """Removes the text's weights from chosen heads."""

    method = "ADHH"

    def __init__(self, threshold: float, heads: dict[int, list[int]], count: int) -> None:
        super().__init__()
        self._threshold = threshold
        self._masks = {layer: torch.tensor([head in own for head in range(count)]) for layer, own in heads.items()}
        self.row_layers = frozenset(heads)
        self._text: torch.Tensor | None = None

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Where the text after the image is."""
        super().begin_forward(forward)
        self._text = after_image(forward)

    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        """Weights without the text's, in rows of these heads whose attention on it is above the threshold."""
        if not self.sees_image:
            return None
        assert self._text is not None
        weights = rows.weights
        text = on_keys(self._text, weights.shape[-1]).to(weights.device)[:, None, None]
        left = weights.masked_fill(text, 0.0)
        rest = left.sum(-1, keepdim=True)
        too_much = (weights.sum(-1, keepdim=True) - rest > self._threshold) & (rest > 0)
        mask = self._masks[rows.own_layer]
        if mask.device != weights.device:
            mask = self._masks[rows.own_layer] = mask.to(weights.device)
        edited = left * (weights.sum(-1, keepdim=True) / rest.clamp_min(1e-12))
        chosen = too_much & mask[:, None]
        self.sums.add("deactivated", rows.own_layer, chosen)
        return torch.where(chosen, edited, weights)

    def no_effect_reason(self) -> str | None:
        """Why no row was edited."""
        if not self.sees_image or not self._masks:
            return None
        return f"no row of these heads had more than {self._threshold:g} of its attention on the text; lower threshold"

    def report(self) -> dict[str, Any]:
        """(row, head) pairs whose attention on the text was taken away."""
        return super().report() | {"deactivated_heads": int(self.sums.total("deactivated"))}


def _text_mass(trace: Trace) -> torch.Tensor:
    """Attention on the keys after the image, ``[step, layer, head]``."""
    require_all_keys(trace)
    image = trace.image_keys
    if not bool(image.any()):
        fix = "trace with an image"
        raise ModelInputError(message("a trace without an image", "answers about an image", fix))
    return trace.attention[..., after_last(image)].sum(-1)
