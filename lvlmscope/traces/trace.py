"""The trace: one answer's attention rows, probabilities, layout and provenance, as frozen tensors."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.image_layout import ImageLayout
from lvlmscope.errors import ShapeError, TraceFileError, describe, message
from lvlmscope.traces.answer_spans import Span, recorded_spans
from lvlmscope.traces.shared_rows import once_a_trace
from lvlmscope.traces.token_layout import Layout

if TYPE_CHECKING:
    import xarray as xr
    from PIL.Image import Image

__all__ = ["Trace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Trace:
    """What a model attended to while it wrote one answer.

    Axes: ``step`` = generated token, ``layer`` (numbers in ``layer_indices``), query ``head``, ``key`` = absolute
    position without padding, ``P + N - 1`` of them for a prompt of P and an answer of N tokens. Row ``step`` is the
    predicting row of that token, the query row at position ``P - 1 + step``. Tensors are on the CPU,
    floats are float32.

    Attributes:
        attention: Post-softmax rows ``[step, layer, head, key]``; keys a row may not see are 0.
        gradient: ``d loss_t / d attention``, same shape, with ``loss_t = -ln p(token_t)``; None if not asked for.
        hidden_states: ``[step, layer + 1, hidden]``: embedding output, then the stream after each decoder layer, all
            before the final norm; None if not asked for. Its layer axis counts every decoder layer of the model.
        image_scores: Sum of the pre-softmax scores of the visible image keys ``[step, layer, head]``; None in a trace
            that was not made by a model.
        layer_indices: Decoder layer number of each entry of the attention's layer axis.
        answer_ids: int64 ``[step]``.
        log_probs: ``ln p`` of each answer token under the model's own distribution ``[step]``, nats.
        entropy: Entropy of each step's next-token distribution ``[step]``, nats.
        margin: Gap between the two highest log-probabilities ``[step]``, nats.
        top_ids: The most probable tokens ``[step, 5]``, int64.
        top_log_probs: Their log-probabilities ``[step, 5]``, nats.
        mixed_log_probs: ``ln p`` of each answer token after the interventions that mix logits ``[step]``, nats,
            -inf for one that they excluded; None without such an intervention.
        mixed_top_ids: The most probable tokens after them ``[step, 5]``, int64.
        mixed_top_log_probs: Their log-probabilities ``[step, 5]``, nats.
        layout: Kind of every key position, and the image cells.
        tokens: Text of each key position.
        answer_tokens: Text of each answer token; joined they are ``answer``.
        top_tokens: Texts of `top_ids`, each as it would stand in the answer; empty in files of earlier versions.
        prompt: The prompt as given; of messages the text that the chat template makes of them.
        answer: The answer's text.
        image: The image given, None when only prepared inputs were.
        images: All images, in the order of the prompt.
        kept_keys: "all", or "image_answer" in a trace whose key axis holds the keys of image and answer only: its rows
            sum to less than 1; `num_prompt_keys` counts the kept ones.
        provenance: Versions, model, generation settings, replay agreement (JSON values).
        effects: One report per intervention that was on: what it edited.
    """

    attention: torch.Tensor
    layer_indices: tuple[int, ...]
    answer_ids: torch.Tensor
    log_probs: torch.Tensor
    entropy: torch.Tensor
    margin: torch.Tensor
    top_ids: torch.Tensor
    top_log_probs: torch.Tensor
    layout: Layout
    tokens: tuple[str, ...]
    answer_tokens: tuple[str, ...]
    prompt: str
    answer: str
    gradient: torch.Tensor | None = None
    hidden_states: torch.Tensor | None = None
    image_scores: torch.Tensor | None = None
    mixed_log_probs: torch.Tensor | None = None
    mixed_top_ids: torch.Tensor | None = None
    mixed_top_log_probs: torch.Tensor | None = None
    images: "tuple[Image, ...]" = ()
    top_tokens: tuple[tuple[str, ...], ...] = ()
    kept_keys: Literal["all", "image_answer"] = "all"
    provenance: dict[str, Any] = field(default_factory=dict)
    effects: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check that all axes agree.

        Raises:
            ShapeError: An axis differs between two fields.
        """
        steps, layers, _, keys = self.attention.shape
        expected = {
            "answer_ids": (steps,),
            "log_probs": (steps,),
            "entropy": (steps,),
            "margin": (steps,),
        }
        tensors = {"attention": self.attention} | {name: getattr(self, name) for name in expected}
        lengths = (len(self.layer_indices), len(self.tokens), len(self.layout.kinds), len(self.answer_tokens))
        agree = all(getattr(self, name).shape == shape for name, shape in expected.items())
        agree &= lengths == (layers, keys, keys, steps)
        agree &= len(self.top_tokens) in (0, steps)
        agree &= self.gradient is None or self.gradient.shape == self.attention.shape
        agree &= self.top_ids.shape == self.top_log_probs.shape and len(self.top_ids) == steps
        agree &= self.image_scores is None or self.image_scores.shape == self.attention.shape[:3]
        agree &= self._mixed_agree(steps)
        agree &= self.hidden_states is None or len(self.hidden_states) == steps
        if not agree:
            got = f"{describe(tensors)}, layer, token, kind and answer token counts {lengths}"
            raise ShapeError(message(got, "axes that agree", "check how the fields were made", task="make a trace"))

    def _mixed_agree(self, steps: int) -> bool:
        """Whether what is known of the mixed distributions is all there, and of all steps."""
        chosen, ids, tops = self.mixed_log_probs, self.mixed_top_ids, self.mixed_top_log_probs
        if chosen is None or ids is None or tops is None:
            return chosen is ids is tops
        return chosen.shape == (steps,) and ids.shape == tops.shape and len(ids) == steps

    @property
    def image_keys(self) -> torch.Tensor:
        """Which keys are image tokens, as the layout says: bool ``[key]``."""
        return self.layout.keys_of("image")

    @property
    def image(self) -> "Image | None":
        """The first image, None when there is none."""
        return self.images[0] if self.images else None

    @property
    def prompt_text(self) -> str:
        """The text that the model saw: the prompt in its chat template, one placeholder for each image."""
        return str(self.provenance.get("prompt_text", self.prompt))

    @property
    def prompt_length(self) -> int:
        """P: prompt length in tokens, image tokens counted, whichever keys are kept."""
        return int(self.provenance.get("prompt_length", self.num_prompt_keys))

    @property
    def num_prompt_keys(self) -> int:
        """Keys of the key axis before the first answer key: P, fewer where only some keys are kept."""
        return len(self.tokens) + 1 - self.num_steps

    @property
    def num_steps(self) -> int:
        """N: number of answer tokens."""
        return self.attention.shape[0]

    @property
    def num_layers(self) -> int:
        """Number of layers on the attention's layer axis."""
        return self.attention.shape[1]

    @property
    def num_heads(self) -> int:
        """H: number of query heads."""
        return self.attention.shape[2]

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """Of each step whether the model was thinking, wrote its final answer, or a marker between them.

        `"thinking"`, `"answer"` or `"marker"`; None where the model declares no markers (see `label_spans`).
        """
        return recorded_spans(self.provenance, self.num_steps)

    def rows(self) -> AttentionRows:
        """The attention as a row object ``[step, layer, head, key]`` with image mass and distribution.

        Returns:
            A new row object; keep it to compute each signal once. Inside `sharing_rows` the same one each time.
        """
        return once_a_trace(self, "rows", self._rows)

    def _rows(self) -> AttentionRows:
        steps = torch.arange(self.num_steps).view(-1, 1, 1)
        positions = torch.arange(len(self.tokens))
        visible = positions <= self.num_prompt_keys - 1 + steps
        answer = visible & (positions >= self.num_prompt_keys)
        span = ImageLayout.of(self.image_keys.unsqueeze(0)).span
        return AttentionRows(self.attention, self.image_keys, answer_keys=answer, visible_keys=visible, image_span=span)

    def to_xarray(self) -> "xr.Dataset":
        """All tensors as one labelled ``xarray.Dataset`` (dims step, layer, head, key, hidden, rank)."""
        from lvlmscope.traces.labelled_arrays import dataset

        return dataset(self)

    def to_transformer_lens(self, model: Any = None) -> Any:
        """The trace as TransformerLens' ``ActivationCache``, under its hook names.

        Args:
            model: TransformerLens model that the cache's own analyses refer to, if any.

        Returns:
            The cache.

        Raises:
            MissingExtraError: TransformerLens is not installed.
        """
        from lvlmscope.traces.transformer_lens import activation_cache

        return activation_cache(self, model)

    def diff(self, other: "Trace") -> "xr.Dataset":
        """``other - self`` over the steps before the answers part (see ``lvlmscope.traces.trace_difference``).

        Args:
            other: A trace of the same prompt and images by a model of the same shape.

        Returns:
            Dataset with attention, image_mass, log_probs and entropy.

        Raises:
            ShapeError: Other layers, heads or prompt lengths.
            ModelInputError: Another prompt, or other images.
        """
        from lvlmscope.traces.trace_difference import difference

        return difference(self, other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as one safetensors file with JSON metadata, complete or not at all.

        Images of more than a million pixels are written as JPEG: read back they are close to those traced, not
        equal, and what runs the model on them again differs a little.

        Args:
            path: File to write; an existing one is replaced.

        Raises:
            TraceFileError: The folder does not exist or cannot be written to.
        """
        from lvlmscope.traces.trace_file import write_trace

        write_trace(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a trace that ``save`` wrote.

        Args:
            path: File to read.

        Returns:
            The trace.

        Raises:
            TraceFileError: No such file, not a trace, cut short, or of a newer format.
        """
        from lvlmscope.traces.trace_file import read_trace

        try:
            return cls(**read_trace(path))
        except ShapeError as error:
            expected, fix = "tensors whose axes agree", "the file is damaged: save the trace again"
            raise TraceFileError(message(str(error), expected, fix, task=f"load the trace {path}")) from error

    def __repr__(self) -> str:
        """A few lines for a terminal: answer, sizes, model, replay agreement."""
        from lvlmscope.traces.formatting import plain_summary

        return plain_summary(self)

    def _repr_html_(self) -> str:
        """The summary for Jupyter: image, caption with shaded words, a small layer x head map."""
        from lvlmscope.traces.formatting_html import html_summary

        return html_summary(self)
