"""Prompt inputs of ``generate``, and variants of them: without the image, with changed pixels or text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float

from lvlmscope.attention.image_layout import after_last
from lvlmscope.errors import InterventionError, message
from lvlmscope.models.input_names import is_image_input

__all__ = ["PromptInputs"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptInputs:
    """Model inputs of a batch of prompts; the methods give new ones, and leave these as they are.

    Attributes:
        inputs: What ``generate`` is given by name: ``input_ids`` and ``attention_mask`` ``[batch, position]``,
            left-padded, and the image's.
        image_keys: Positions of image tokens, bool ``[batch, position]``.
        tokenizer: The model's tokenizer; None for a bare model, whose processor is not known.
        edited: Whether the other interventions that are on act on these prompts' forwards, too.
        interventions: What acts on these prompts' forwards alone.
    """

    inputs: Mapping[str, Any]
    image_keys: Bool[torch.Tensor, "batch position"]
    tokenizer: Any = None
    edited: bool = False
    interventions: tuple[Any, ...] = ()

    @property
    def has_image(self) -> bool:
        """Whether any of the prompts has an image token."""
        return bool(self.image_keys.any())

    def same_as(self, other: "PromptInputs") -> bool:
        """Whether a sequence after these prompts is one after the other's: equal inputs, and the same acts on both.

        Args:
            other: Variants of the same prompts.
        """
        if self.edited != other.edited or len(self.interventions) != len(other.interventions):
            return False
        if not all(own is theirs for own, theirs in zip(self.interventions, other.interventions, strict=True)):
            return False
        return self.inputs.keys() == other.inputs.keys() and all(
            own is (theirs := other.inputs[name]) or _equal(own, theirs) for name, own in self.inputs.items()
        )

    def with_edits(self) -> "PromptInputs":
        """The same prompts; the other interventions that are on edit their forwards, too."""
        return replace(self, edited=True)

    def with_interventions(self, *interventions: Any) -> "PromptInputs":
        """The same prompts; these interventions edit their forwards, and theirs alone.

        Args:
            *interventions: Objects with ``start`` and ``describe``, in the order in which they act.
        """
        return replace(self, interventions=(*self.interventions, *interventions))

    def with_pixels(self, change: Callable[[torch.Tensor], Float[torch.Tensor, "*shape"]]) -> "PromptInputs":
        """The same prompts about changed images.

        Args:
            change: Makes new pixel values of the normalised ones that the model's processor made: the same shape, in
                the layout of the model's family; called once for each input that holds pixels.

        Returns:
            New inputs.

        Raises:
            InterventionError: No input holds pixels, or they come back in another shape.
        """
        pixels = {name: value for name, value in self.inputs.items() if _holds_pixels(name, value)}
        if not pixels:
            got, fix = f"inputs {', '.join(self.inputs)}", "generate from a prompt with an image"
            raise InterventionError(message(got, "an input with pixel values", fix, task="change pixels"))
        changed = {}
        for name, value in pixels.items():
            changed[name] = change(value).to(value)
            if changed[name].shape != value.shape:
                got, fix = f"{name} {list(changed[name].shape)}", "return pixel values of the same shape"
                raise InterventionError(message(got, f"{list(value.shape)}", fix, task="change pixels"))
        return replace(self, inputs=dict(self.inputs) | changed)

    def without_image(self) -> "PromptInputs":
        """The text of the prompts alone: image tokens and everything that belongs to images left out.

        Marks around an image (``<|vision_start|>``) stay: they are text to the model.
        """
        kept = self.inputs["attention_mask"].bool() & ~self.image_keys
        rows = [row.nonzero().flatten() for row in kept]
        longest = max(len(row) for row in rows)
        index = torch.stack([torch.cat([row.new_full((longest - len(row),), -1), row]) for row in rows])
        text = {name: value for name, value in self.inputs.items() if not is_image_input(name)}
        return replace(self, inputs=self._at(text, index), image_keys=self._gathered(self.image_keys, index))

    def with_words(self, text: str | Sequence[int]) -> "PromptInputs":
        """The same prompts with words after the last image token and the marks that follow it: before its question.

        Args:
            text: The words, with the space that is to follow them; or their token ids.

        Returns:
            New inputs.

        Raises:
            InterventionError: Words, and the model's tokenizer is not known.
        """
        if isinstance(text, str) and self.tokenizer is None:
            got, expected = "a bare model, whose tokenizer is not known", "what lv.load gives"
            raise InterventionError(
                message(got, expected, "load it as (model, processor)", task="add words to a prompt")
            )
        given = self.tokenizer(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else list(text)
        ids, words = self.inputs["input_ids"], torch.tensor(given)
        text_follows = after_last(self.image_keys) & ~self._marks(ids) & (self.inputs["attention_mask"] != 0)
        places = text_follows.int().argmax(-1).where(text_follows.any(-1), ids.shape[-1])
        return self._inserting(places.tolist(), words)

    def _marks(self, ids: torch.Tensor) -> torch.Tensor:
        """Special tokens that may stand around an image; the end token ends the turn that the image is in."""
        if self.tokenizer is None:
            return torch.zeros_like(ids, dtype=torch.bool)
        marks = set(self.tokenizer.all_special_ids) - {self.tokenizer.eos_token_id}
        return torch.isin(ids, torch.tensor(sorted(marks), device=ids.device, dtype=ids.dtype))

    def _inserting(self, places: Sequence[int], words: torch.Tensor) -> "PromptInputs":
        old = torch.arange(self.image_keys.shape[-1])
        rows = [torch.cat([old[:place], old.new_full((len(words),), -1), old[place:]]) for place in places]
        index = torch.stack(rows).to(self.image_keys.device)
        found, new = self._at(self.inputs, index), index < 0
        ids = words.to(found["input_ids"]).repeat(len(places))
        found["input_ids"] = found["input_ids"].masked_scatter(new, ids)
        found["attention_mask"] = found["attention_mask"].masked_fill(new, 1)
        return replace(self, inputs=found, image_keys=self._gathered(self.image_keys, index))

    def _at(self, inputs: Mapping[str, Any], index: torch.Tensor) -> dict[str, Any]:
        """Inputs at other positions; positions without a source are masked and hold the prompt's last token."""
        found = {name: self._gathered(value, index) for name, value in inputs.items()}
        last = inputs["input_ids"][:, -1:].expand(index.shape)
        found["input_ids"] = found["input_ids"].where(index.to(last.device) >= 0, last)
        return found

    def _gathered(self, value: Any, index: torch.Tensor) -> Any:
        """What has one entry a position, at other positions; 0 where there is none. Other inputs as they are."""
        if not isinstance(value, torch.Tensor) or value.shape[:2] != self.image_keys.shape:
            return value
        index = index.to(value.device)
        index = index.reshape(*index.shape, *(1,) * (value.dim() - 2))
        shown = index.clamp_min(0).expand(*index.shape[:2], *value.shape[2:])
        return value.gather(1, shown).masked_fill(index < 0, 0)


def _holds_pixels(name: str, value: Any) -> bool:
    return "pixel_values" in name and isinstance(value, torch.Tensor) and value.is_floating_point()


def _equal(one: Any, other: Any) -> bool:
    """Whether two inputs of a model are equal; of what is no tensor, only if it is the same kind of plain value."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    return isinstance(one, bool | int | float | str) and type(one) is type(other) and one == other
