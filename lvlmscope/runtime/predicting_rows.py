"""Tracks a model's forwards: which query rows predict, which keys are image keys, how long the prompt is."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lvlmscope.attention.image_layout import ImageLayout
from lvlmscope.errors import ModelInputError, message
from lvlmscope.runtime.protocol import ForwardInfo

__all__ = ["ForwardTracker"]


class _Sequence(threading.local):
    """What is known of the sequence that a thread runs through the model."""

    def __init__(self) -> None:
        self.prompt_length: int | None = None
        self.implied_length = 0
        self.ids: torch.Tensor | None = None
        self.current: ForwardInfo | None = None
        self.last: ForwardInfo | None = None
        self.is_resumed = False
        self.image: tuple[torch.Tensor, ImageLayout] | None = None
        self.inputs: Mapping[str, Any] = {}
        self.prompts = 0


class ForwardTracker:
    """Keeps the ids of the current sequence and says, for each forward, which rows predict.

    A row predicts when its position is at or after the last prompt position: the last row of a prompt, also when the
    prompt comes in chunks, every row of a decode step, and every replayed row. Each thread has a sequence of its own.

    Attributes:
        prompt_length: Prompt length in columns while it is known from outside (``generate``, a replay), else None: the
            first forward without a cache is then the prompt.
        current: The forward that is running, None between forwards and in those without a predicting row.
        is_resumed: Whether a backward pass is running the layers of the last forward once more.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        image_mask: Callable[[torch.Tensor], torch.Tensor],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prepare; no hook is set yet.

        Args:
            model: The whole model, whose forward takes ``input_ids``.
            image_mask: Gives bool ``[batch, key]`` of image tokens for ids of that shape.
            wanted: Whether forwards of the running thread are followed.
        """
        self._model = model
        self._image_mask = image_mask
        self._wanted = wanted
        self._sequence = _Sequence()
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self.on_begin: Callable[[ForwardInfo], None] = lambda _: None
        self.on_end: Callable[[torch.Tensor, Any], None] = lambda _, __: None
        self.on_part: Callable[[], None] = lambda: None

    @property
    def prompt_length(self) -> int | None:
        """Prompt length in columns, as the attribute says."""
        return self._sequence.prompt_length

    @prompt_length.setter
    def prompt_length(self, length: int | None) -> None:
        self._sequence.prompt_length = length

    @property
    def current(self) -> ForwardInfo | None:
        """The running thread's forward, as the attribute says."""
        return self._sequence.current

    @property
    def is_resumed(self) -> bool:
        """Whether a backward pass runs the last forward's layers, as the attribute says."""
        return self._sequence.is_resumed

    def __deepcopy__(self, memo: dict[int, Any]) -> "ForwardTracker":
        """The same: what is copied with a hooked module has no model to follow."""
        return self

    def install(self) -> None:
        """Hook the model's forward."""
        hook, options = self._model.register_forward_pre_hook, {"with_kwargs": True}
        self._handles.append(hook(self._before, prepend=True, **options))
        self._handles.append(self._model.register_forward_hook(self._after, always_call=True, **options))

    def remove(self) -> None:
        """Take the hooks away and forget the sequence."""
        with ExitStack() as steps:
            while self._handles:
                steps.callback(self._handles.pop().remove)
        self._sequence = _Sequence()

    def set_sequence(self, ids: torch.Tensor, prompt_length: int, inputs: Mapping[str, Any] | None = None) -> None:
        """Tell a sequence in advance, for a replay over a cache that was filled before.

        Args:
            ids: Ids with padding ``[batch, key]``.
            prompt_length: Columns of the prompt.
            inputs: The prompts' inputs by name, where they are known.
        """
        self._sequence.ids, self._sequence.prompt_length, self._sequence.image = ids, prompt_length, None
        self._sequence.inputs, self._sequence.prompts = inputs or {}, ids.shape[0]

    def forget_inputs(self) -> None:
        """Free the prompts' inputs; forwards that follow are the user's own."""
        self._sequence.inputs, self._sequence.prompts = {}, 0

    def _before(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module is not self._model or not self._wanted():
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if ids is None:
            ids = self._known_ids(kwargs.get("inputs_embeds"))
        if ids is None:
            got = "a forward with inputs_embeds only"
            fix = "pass input_ids, so that image positions are known"
            raise ModelInputError(message(got, "input_ids", fix, task="follow a forward"))
        known = self._sequence.ids
        if past == 0:
            self._sequence.ids, self._sequence.image = ids, None
            self._sequence.implied_length = ids.shape[1]
        elif known is None or known.shape[1] < past or ids.shape[0] % known.shape[0]:
            got = f"a cache of {past} positions made before the intervention was attached"
            fix = "start from the prompt inside the with block"
            raise ModelInputError(message(got, "sequences seen from their start", fix, task="follow a forward"))
        else:
            if known.shape[0] != ids.shape[0]:  # a prompt that was run once goes on in several rows, as its beams
                known = known.repeat_interleave(ids.shape[0] // known.shape[0], 0)
            self._sequence.ids = torch.cat([known[:, :past], ids], 1)
        self._sequence.current = self._describe(ids.shape[1], past)
        if self.current is not None:
            self.on_begin(self.current)
        else:
            self.on_part()

    @contextmanager
    def another_sequence(self, known: dict[str, Any]) -> Iterator[None]:
        """Follow another sequence of this thread for a while.

        Args:
            known: What is known of it; empty at first, filled when it is left.

        Yields:
            Nothing; then the sequence before it is followed again.
        """
        here = vars(self._sequence)
        before = dict(here)
        here.update(vars(_Sequence()) | known)
        try:
            yield
        finally:
            known.update(here)
            here.update(before)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Take the last forward up again while a backward pass runs its layers once more.

        Yields:
            Nothing.
        """
        self._sequence.current, self._sequence.is_resumed = self._sequence.last, True
        try:
            yield
        finally:
            self._sequence.current, self._sequence.is_resumed = None, False

    def _known_ids(self, embeds: torch.Tensor | None) -> torch.Tensor | None:
        """Ids told in advance, for a language model that gets its prompt embedded."""
        known = self._sequence.ids
        if known is None or embeds is None or known.shape[1] != embeds.shape[1] or embeds.shape[0] % known.shape[0]:
            return None
        return known.repeat_interleave(embeds.shape[0] // known.shape[0], 0)

    def _describe(self, queries: int, past: int) -> ForwardInfo | None:
        prompt = self._sequence.implied_length if self.prompt_length is None else self.prompt_length
        if past + queries < prompt:
            return None  # a chunk of the prompt before its last row
        assert self._sequence.ids is not None
        image, layout = self._prompt_image(self._sequence.ids, prompt)
        return ForwardInfo(
            token_ids=self._sequence.ids,
            image_keys=torch.nn.functional.pad(image, (0, self._sequence.ids.shape[1] - prompt)),
            layout=layout,
            prompt_length=prompt,
            past_length=past,
            first_row=max(prompt - 1 - past, 0),
            num_queries=queries,
            inputs=self._sequence.inputs,
            num_prompts=self._prompts(self._sequence.ids.shape[0]),
        )

    def _prompts(self, rows: int) -> int:
        """Prompts that the rows belong to; each row its own where that is not known."""
        known = self._sequence.prompts
        return known if known and rows % known == 0 else rows

    def _prompt_image(self, ids: torch.Tensor, prompt: int) -> tuple[torch.Tensor, ImageLayout]:
        """The prompt's image keys, bool ``[batch, prompt]``, found once a sequence: later tokens show no image."""
        known = self._sequence.image
        if known is None or known[0].shape != (ids.shape[0], prompt):
            mask = self._image_mask(ids[:, :prompt])
            known = self._sequence.image = (mask, ImageLayout.of(mask))
        return known

    def _after(self, _: torch.nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        forward, self._sequence.current = self.current, None
        self._sequence.last = forward
        logits = getattr(output, "logits", None)
        if forward is not None and logits is not None:
            cache = getattr(output, "past_key_values", None)
            self.on_end(logits, kwargs.get("past_key_values") if cache is None else cache)
