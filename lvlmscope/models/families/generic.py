"""The generic family: image tokens by id, decoder by ``get_decoder``, no geometry."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.hooks.attention_tap import AttentionTap, FirstRow, Handler, Tap
from lvlmscope.models.families.key_columns import columns_beside_tokens, shifted_by_padding
from lvlmscope.models.families.refused_model_types import NO_IMAGE_TOKENS, NOT_TOKEN_BY_TOKEN
from lvlmscope.traces.token_layout import Cell, ImageLayout

__all__ = ["DefaultFamily"]

# Where wrappers keep the decoder proper: OPT in InstructBLIP, Llama4's text model
_INNER = ("model", "decoder", "language_model", "transformer")


class DefaultFamily:
    """Every model whose decoder uses the attention registry and whose config names an image token."""

    name: str = "generic"
    max_images: int | None = None

    def claims(self, model: torch.nn.Module) -> bool:
        """False: the generic family claims no model and serves those that no other claims."""
        del model
        return False

    def image_token_id(self, model: torch.nn.Module) -> int | None:
        """Id of the image placeholder token, None when the config names none."""
        config = model.config
        found = getattr(config, "image_token_id", None)
        return getattr(config, "image_token_index", None) if found is None else found

    def require_vision(self, model: torch.nn.Module) -> None:
        """Refuse models that take no images.

        Raises:
            UnsupportedModelError: The config names no image token, the model cannot generate, or its key columns are
                no tokens; or it is a part of a model.
        """
        config: Any = getattr(model, "config", None)
        kind = getattr(config, "model_type", "")
        if getattr(config, "is_encoder_decoder", False):
            raise _encoder_decoder(model)
        if config is None or kind in NOT_TOKEN_BY_TOKEN or self.image_token_id(model) is None:
            why = {**NOT_TOKEN_BY_TOKEN, **NO_IMAGE_TOKENS}.get(kind, "a text-only model")
            got, expected = f"{type(model).__name__}, {why}", "image-text-to-text models with image tokens"
            fix = "load a vision-language model, for example lv.load('tiny')"
            raise UnsupportedModelError(message(got, expected, fix, task="trace a model"))
        text = self.text_config(model)
        if getattr(text, "is_encoder_decoder", False):
            raise _encoder_decoder(model)
        if why := columns_beside_tokens(text):
            got, fix = f"{type(model).__name__}, {why}", "use a model of another family: `lvlmscope models` lists them"
            raise UnsupportedModelError(message(got, "decoders with a key for each token", fix, task="trace a model"))
        if not hasattr(model, "generate"):
            got, expected = f"{type(model).__name__}, a part of a model", "the whole model, which has generate"
            fix = "pass what holds it, a class named ...ForConditionalGeneration"
            raise UnsupportedModelError(message(got, expected, fix, task="trace a model"))

    def decoder(self, model: torch.nn.Module) -> torch.nn.Module:
        """The text decoder, by ``get_decoder``."""
        found: torch.nn.Module = model.get_decoder()  # type: ignore[operator]
        return found

    def decoder_layers(self, model: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """The decoder's ``layers``, its own or those of a module it wraps.

        Raises:
            UnsupportedModelError: The decoder keeps its layers elsewhere.
        """
        found: Any = self.decoder(model)
        while getattr(found, "layers", None) is None:
            inner = next((m for n in _INNER if isinstance(m := getattr(found, n, None), torch.nn.Module)), None)
            if inner is None:
                got, expected = f"{type(found).__name__} without .layers", "decoders with a list of layers"
                raise UnsupportedModelError(message(got, expected, "register a Family", task="find decoder layers"))
            found = inner
        return list(found.layers)

    def core(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model itself."""
        return model

    def crossing_layers(self, model: torch.nn.Module) -> frozenset[int]:
        """The config's ``cross_attention_layers``; most models have none."""
        return frozenset(getattr(self.text_config(model), "cross_attention_layers", None) or ())

    def prompt_sees_itself(self, model: torch.nn.Module) -> bool:
        """False: a token sees those before it, at most those of its own image too."""
        del model
        return False

    def padding_reason(self, model: torch.nn.Module) -> str:
        """By the decoder's layer types."""
        return shifted_by_padding(self.text_config(model))

    def outside_keys(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> int:
        """0: image tokens are in the sequence."""
        del model, inputs
        return 0

    def make_tap(self, model: torch.nn.Module, first_row: FirstRow, handler: Handler) -> Tap:
        """A tap on the attention registry of transformers."""
        return AttentionTap(self.decoder(model), first_row, handler)

    def text_config(self, model: torch.nn.Module) -> Any:
        """The decoder's config."""
        return self.decoder(model).config

    def image_mask(self, model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """Positions that hold the image token id, or the video token id, bool ``[batch, key]``."""
        video = getattr(model.config, "video_token_id", None)
        tokens = [token for token in (self.image_token_id(model), video) if token is not None]
        return torch.isin(ids, torch.tensor(tokens, dtype=ids.dtype, device=ids.device))

    def image_layouts(
        self,
        model: torch.nn.Module,
        keys: torch.Tensor,
        inputs: dict[str, Any],
        *,
        processor: Any = None,
        sizes: Sequence[tuple[int, int]] = (),
    ) -> tuple[ImageLayout, ...]:
        """One image per run of consecutive image tokens, without boxes."""
        del inputs, processor
        return unplaced(keys.tolist(), sizes, self.unplaced_reason(model))

    def unplaced_reason(self, model: torch.nn.Module) -> str:
        """Why image tokens have no boxes in the image, for messages."""
        return f"the geometry of {type(model).__name__} is not known to this version"

    def sample_inputs(self, model: torch.nn.Module, inputs: Mapping[str, Any], index: int) -> dict[str, Any]:
        """The sample's ids and mask; the whole batch when there is one sample only."""
        del model
        if inputs["input_ids"].shape[0] == 1:
            return dict(inputs)
        return {name: inputs[name][index : index + 1] for name in ("input_ids", "attention_mask") if name in inputs}


def _encoder_decoder(model: torch.nn.Module) -> UnsupportedModelError:
    got = f"{type(model).__name__}, an encoder-decoder whose prompt lies outside the decoder's sequence"
    fix = "load a model that puts prompt and image tokens into the decoder's sequence"
    return UnsupportedModelError(message(got, "decoder-only models", fix, task="trace a model"))


def unplaced(keys: Sequence[int], sizes: Sequence[tuple[int, int]], reason: str) -> tuple[ImageLayout, ...]:
    """Layouts without boxes, with the reason.

    Args:
        keys: Positions of the image tokens.
        sizes: Width and height of each image given, empty when unknown.
        reason: Why.

    Returns:
        One layout when one image was given, else one per run of consecutive tokens.
    """
    runs = [list(keys)] if len(sizes) == 1 and len(keys) else runs_of(keys)
    return tuple(
        ImageLayout(
            cells=tuple(Cell(key=key, image=index, role="query") for key in run),
            size=sizes[index] if index < len(sizes) else None,
            reason=reason,
        )
        for index, run in enumerate(runs)
    )


def runs_of(keys: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers grouped.

    Args:
        keys: Ascending numbers.

    Returns:
        The runs in order.

    Examples:
        >>> runs_of([2, 3, 4, 8, 9])
        [[2, 3, 4], [8, 9]]
    """
    found: list[list[int]] = []
    for key in keys:
        if found and key == found[-1][-1] + 1:
            found[-1].append(key)
        else:
            found.append([key])
    return found
