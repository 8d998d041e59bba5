"""How many bytes a trace takes, stated before anything runs, and ways to take fewer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.capture.options import Keep, KeyFilter, Precision, TraceOptions
from lvlmscope.capture.stepwise_replay import steps_reason
from lvlmscope.decoding.forward_arguments import ends_in_image
from lvlmscope.decoding.generation_record import Generation
from lvlmscope.errors import MemoryLimitError, UnsupportedOptionError, message
from lvlmscope.models.decoder_shape import (
    attention_layers,
    inner_width,
    key_value_width,
    parallel_streams,
    refuse_unequal_heads,
    require_one_stream,
)
from lvlmscope.models.families import Family

__all__ = [
    "Estimate",
    "choose_keeping",
    "estimate_inputs",
    "fit_into",
    "parse_size",
]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes a trace takes, at most: an answer may end early.

    Attributes:
        prompt: Prompt tokens, image tokens counted, of the longest sample.
        steps: Answer tokens at most.
        keys: Kept keys of a row.
        rows: Bytes of the attention rows kept, of all samples.
        gradient: Bytes of their gradients kept.
        hidden: Bytes of the hidden states kept.
        working: Bytes that the replay needs beside what is kept, at its peak.
        mixing: Bytes of second sequences, with their caches, and of mixed logits; 0 where no intervention mixes logits.
        layerwise: Whether the graph of one layer at a time is held, which runs the block twice.
    """

    prompt: int
    steps: int
    keys: int
    rows: int
    gradient: int
    hidden: int
    working: int
    mixing: int = 0
    layerwise: bool = False

    @property
    def kept(self) -> int:
        """Bytes of the finished traces."""
        return self.rows + self.gradient + self.hidden

    @property
    def peak(self) -> int:
        """Bytes at the peak, beside the model, its activations in ``generate`` and its cache.

        The replay's work comes first; then what is kept is put together, which holds it twice for a moment.
        """
        return self.held(2)

    def held(self, copies: int) -> int:
        """Bytes at the peak where what is kept is held several times for a moment.

        Args:
            copies: Times.
        """
        return max(self.kept + self.working + self.mixing, copies * self.kept)

    def __str__(self) -> str:
        """One line per part, in MB."""
        shape = f"{self.prompt} prompt tokens, up to {self.steps} steps, {self.keys} keys kept"
        parts = {"rows": self.rows, "gradient": self.gradient, "hidden": self.hidden}
        parts |= {"working": self.working, "mixing": self.mixing}
        lines = [f"{name:<10}{size / 1e6:12,.1f} MB" for name, size in (parts | {"peak": self.peak}).items() if size]
        return "\n".join([shape, *lines])


def parse_size(size: int | str) -> int:
    """Bytes in a size such as ``"2GB"`` or ``"512 MiB"``.

    Args:
        size: Bytes, or a text with a unit.

    Returns:
        Bytes.

    Raises:
        UnsupportedOptionError: No size, or one that is not positive.

    Examples:
        >>> parse_size("1.5 KB")
        1500
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", str(size))
    number = float(found[1]) if found and found[1].count(".") < 2 and found[1] != "." else 0.0
    unit = _UNITS.get(found[2].upper()) if found else None
    if unit is None or number <= 0:
        expected, fix = "bytes, or a text such as '2GB' or '512MiB'", "write the size with its unit"
        raise UnsupportedOptionError(message(f"{size!r}", expected, fix, task="limit memory"))
    return int(number * unit)


def choose_keeping(model: torch.nn.Module, family: Family, generation: Generation, options: TraceOptions) -> KeyFilter:
    """Which columns of a generation's rows are kept.

    Args:
        family: Its family's rules.
        generation: What will be replayed.
        options: What the trace is to keep; rows that are reduced to signals stay on the device of the answer.

    Returns:
        What the replay's recorder needs.
    """
    columns = None
    if options.keep == "image_answer":
        wanted = family.image_mask(model, generation.ids[:, :-1]).any(0).cpu()
        wanted[generation.prompt_length :] = True
        columns = wanted.nonzero().flatten()
    dtype = torch.float16 if options.precision == "float16" else torch.float32
    device = generation.ids.device if options.signals else torch.device("cpu")
    return KeyFilter(columns=columns, dtype=dtype, whole_layers=family.crossing_layers(model), device=device)


def estimate_inputs(
    model: torch.nn.Module,
    family: Family,
    inputs: Mapping[str, Any],
    steps: int,
    *,
    gradients: bool,
    hidden_states: bool,
    keep: Keep,
    precision: Precision,
    layerwise: bool = False,
    before: int = 0,
    mixing: int = 0,
) -> Estimate:
    """As ``estimate``, for inputs that are ready.

    Args:
        family: Its family's rules.
        inputs: Model inputs ``[batch, prompt]``.
        steps: Answer tokens at most.
        gradients: As for ``trace``.
        hidden_states: As for ``trace``.
        keep: As for ``trace``.
        precision: As for ``trace``.
        layerwise: Hold the graph of one layer at a time.
        before: Answer tokens before these steps, whose keys are cached.
        mixing: Bytes that interventions which mix logits take.

    Returns:
        The estimate.

    Raises:
        UnsupportedModelError: Layers with different numbers of heads, or hidden states of parallel residual streams.
    """
    ids, config = inputs["input_ids"], family.text_config(model)
    batch, prompt = ids.shape
    refuse_unequal_heads(model, family, task="estimate a trace")
    if hidden_states:
        require_one_stream(model, family, task="estimate hidden states")
    layers, heads, width = len(family.decoder_layers(model)), config.num_attention_heads, config.hidden_size
    columns = prompt + before + steps - 1
    outside = family.outside_keys(model, inputs)
    images = int(family.image_mask(model, ids).any(0).sum())
    keys = outside + (images + before + steps - 1 if keep == "image_answer" else columns)
    row = batch * steps * heads
    kept = len(attention_layers(config, layers)) * row * keys * (2 if precision == "float16" else 4)
    inner, streams = inner_width(config), parallel_streams(config) or 1
    activations = (4 + 4 * streams) * width + 4 * inner  # of a token in a layer
    # Scores, masked scores, weights and their gradient of a layer, and its stream and inner activations
    per_layer = row * columns * 4 * 4 + batch * steps * activations * 4
    held = 1 if not gradients else 2 if layerwise else layers + 1  # and one layer's on its way back
    if gradients:
        per_layer += 2 * batch * columns * width * 4 // held  # what flows back to a layer's keys and values
    logits = 4 * batch * steps * int(config.vocab_size) * 4
    stepwise = bool(steps_reason(model, family, gradients=gradients))
    runs_prompt = gradients and (stepwise or _runs_whole(model, family, ids))
    whole = held * batch * prompt * activations * 4 if runs_prompt else 0
    one_layer = batch * columns * key_value_width(config) * decoder_dtype(model, family).itemsize
    cache = (layers + 1) * one_layer if stepwise else 0  # a layer's is copied as it grows
    return Estimate(
        prompt=prompt,
        steps=steps,
        keys=keys,
        rows=kept,
        gradient=kept if gradients else 0,
        hidden=batch * steps * (layers + 1) * width * 4 if hidden_states else 0,
        working=whole + cache + held * per_layer + layers * batch * steps * streams * width * 4 + logits,
        mixing=mixing,
        layerwise=layerwise and gradients,
    )


def _runs_whole(model: torch.nn.Module, family: Family, ids: torch.Tensor) -> bool:
    """Whether the replay runs the whole prompt: one that ends in the image, or layers whose state cannot be cut."""
    kinds = set(getattr(family.text_config(model), "layer_types", None) or ())
    return ends_in_image(model, family, ids) or not all(
        kind.endswith("attention") and "linear" not in kind for kind in kinds
    )


def fit_into(
    limit: int,
    model: torch.nn.Module,
    family: Family,
    inputs: Mapping[str, Any],
    steps: int,
    *,
    copies: int = 2,
    otherwise: str = "",
    **options: Any,
) -> bool:
    """Whether to hold one layer's graph at a time so that a trace stays within a limit.

    Args:
        limit: Bytes.
        family: Its family's rules.
        inputs: Model inputs.
        steps: Answer tokens at most.
        copies: Times that what is kept is held for a moment.
        otherwise: What else would fit, for the message.
        **options: gradients, hidden_states, keep, precision and mixing as for ``estimate_inputs``.

    Returns:
        False when everything fits at once, True when it does one layer at a time.

    Raises:
        MemoryLimitError: Neither does; the message names what would.
    """
    whole = estimate_inputs(model, family, inputs, steps, **options)
    if whole.held(copies) <= limit:
        return False
    layerwise = estimate_inputs(model, family, inputs, steps, layerwise=True, **options)
    if layerwise.held(copies) <= limit:
        return True
    leaner = {
        "keep='image_answer'": options | {"keep": "image_answer"},
        "precision='float16'": options | {"precision": "float16"},
        "both": options | {"keep": "image_answer", "precision": "float16"},
        "gradients=False": options | {"gradients": False},
    }
    sizes = [
        f"{name} {estimate_inputs(model, family, inputs, steps, layerwise=True, **changed).held(copies) / 1e6:,.1f} MB"
        for name, changed in leaner.items()
        if changed != options
    ]
    got = f"a trace of {layerwise.held(copies) / 1e6:,.1f} MB for max_memory of {limit / 1e6:,.1f} MB"
    fix = f"give more, ask for fewer new tokens, or choose one of these{otherwise}"
    raise MemoryLimitError(message(got, ", ".join(sizes), fix, task="trace within a limit of memory"))
