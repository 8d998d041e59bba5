"""``check``: does this model, on this machine, give rows that can be trusted?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.capture.agreement import decoder_dtype
from lvlmscope.capture.generation import generate_answer
from lvlmscope.capture.trace_one import trace_inputs
from lvlmscope.errors import UnsupportedModelError, message
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_tap import KernelOutput
from lvlmscope.inputs.preparation import prepare
from lvlmscope.models.families import Family
from lvlmscope.models.loaded_model import family_for, find_processor, unwrap
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.generation_settings import plain_settings
from lvlmscope.runtime.protocol import ModelInfo, Session
from lvlmscope.traces.trace import Trace
from lvlmscope.verification.padding_check import PaddingEffect, measure_padding

__all__ = ["Check", "Finding", "check"]

_STEPS = 3
# Largest difference of attention weights that rounding explains; bf16 and fp16 round the stream at every layer
_ROW_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 8e-2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: What was checked.
        passed: Whether it holds; None when it could not be checked, which ``note`` explains.
        value: What was measured.
        limit: What is allowed, or needed.
        note: More words.
        needed: Whether a model that fails is refused; False where only what the note says is.
    """

    name: str
    passed: bool | None
    value: str = ""
    limit: str = ""
    note: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Check:
    """What ``check`` found out about one model.

    Attributes:
        model: Class name of the model.
        family: Name of the family whose rules were used.
        findings: One entry per thing checked.
        padding_reason: Why padded batches of this model are refused, and run one by one where the library makes them;
            empty where they are not.
    """

    model: str
    family: str
    findings: tuple[Finding, ...]
    padding_reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing that is needed failed."""
        return all(finding.passed is not False or not finding.needed for finding in self.findings)

    def __repr__(self) -> str:
        """A line per finding."""
        marks = {True: "ok", False: "FAILED", None: "not checked"}
        lines = [f"{self.model} (family {self.family})"]
        for finding in self.findings:
            measured = f"{finding.value} (limit {finding.limit})" if finding.limit else finding.value
            words = "; ".join(part for part in (measured, finding.note) if part)
            mark = marks[finding.passed] if finding.needed or finding.passed is not False else "differs"
            lines.append(f"  {mark:<12}{finding.name}: {words}")
        return "\n".join(lines)

    def raise_if_failed(self) -> None:
        """Refuse a model whose rows cannot be trusted.

        Raises:
            UnsupportedModelError: Something failed.
        """
        if not self.passed:
            fix = "register a Family for it, or load with check=False and look at lv.check(model)"
            raise UnsupportedModelError(message(repr(self), "a model that passes", fix, task="trust a model's rows"))


def check(model: Any, *, inputs: Any = None, processor: Any = None, family: Family | None = None) -> Check:
    """Numerical self-check of a model: what every trace relies on, tried on a test image.

    A few tokens are generated and replayed. Checked are: the replay repeats the generation; rows sum to 1; rows equal
    those of the model's own eager attention; hiding the image from every layer moves the logits; every image token
    has a cell in the layout. Whether a sample that is padded on the left keeps its logits is measured, too: a model
    where it does not passes, and its padded batches are refused from then on, or run one by one where this library
    makes them.

    Args:
        model: What ``load`` gave, or a bare Hugging Face model.
        inputs: Prepared model inputs of one sample, for a model without a processor.
        processor: The model's processor, when it cannot be found from the model's name.
        family: Rules of the model's family, found by itself when None.

    Returns:
        The findings; they print as a table. The model is as before.

    Raises:
        UnsupportedModelError: The model takes no images, or its attention cannot be reached.
        ReplayError: The replay disagrees with the generation.
    """
    bare = unwrap(model)
    family = family_for(model, family)
    family.require_vision(bare)
    if inputs is None:
        inputs = prepare(_test_image(), "Describe the image.", find_processor(model, processor), family).inputs
    options = plain_settings(family.core(bare)) | {"max_new_tokens": _STEPS, "do_sample": False}
    every = trace_inputs(model, inputs, processor=processor, family=family, progress=False, **options)
    if len(every) != 1:
        fix = "pass one sample"
        raise UnsupportedModelError(message(f"{len(every)} samples", "one sample", fix, task="check a model"))
    traced = every[0]
    effect = measure_padding(bare, family, inputs, options)
    findings = (
        _agreement(traced),
        _sums(traced, bare),
        _eager(bare, family, traced, inputs, options),
        _edit(bare, family, inputs),
        _padding(effect),
        _cells(traced),
    )
    return Check(model=type(bare).__name__, family=family.name, findings=findings, padding_reason=effect.reason)


def _test_image() -> Image.Image:
    """Coloured noise over a slope: no two patches alike."""
    side = np.linspace(0, 1, 224)
    slope = np.stack([np.outer(side, side), np.outer(side, 1 - side), np.outer(1 - side, side)], -1)
    noise = np.random.default_rng(0).random((224, 224, 3))
    return Image.fromarray(((0.6 * slope + 0.4 * noise) * 255).astype(np.uint8))


def _agreement(traced: Trace) -> Finding:
    replay = traced.provenance["replay"]
    value, limit = f"{replay['difference']:.2g}", f"{replay['tolerance']:.2g}"
    words = {"block": "one block over the cut cache", "full": "replayed from the start of the prompt"}
    note = words.get(replay["path"], f"replayed step by step: {replay['reason']}")
    return Finding(name="replayed logits equal generated ones", passed=True, value=value, limit=limit, note=note)


def _sums(traced: Trace, model: torch.nn.Module) -> Finding:
    sums = traced.attention.sum(-1)
    off = (sums - 1).abs().max().item()
    learned = any("sink" in name for name, _ in model.named_parameters())
    if learned:
        passed = bool(torch.isfinite(sums).all() and (sums <= 1 + 1e-4).all())
        return Finding(
            name="rows sum to 1", passed=passed, note="at most 1: this model has learned sinks beside its keys"
        )
    return Finding(name="rows sum to 1", passed=off < 1e-4, value=f"off by {off:.2g}", limit="0.0001")


def _eager(
    model: torch.nn.Module, family: Family, traced: Trace, inputs: dict[str, Any], options: dict[str, Any]
) -> Finding:
    """The rows of the model's own eager function, of each layer in turn, so that no more than one map is held."""
    name = "rows equal eager attention's"
    decoder: Any = family.decoder(model)
    if not hasattr(decoder, "set_attn_implementation") or not hasattr(decoder, "config"):
        return Finding(name=name, passed=None, note="the model has no eager attention of transformers")
    with _eager_rows(model, family, decoder) as rows:
        generated = generate_answer(model, family, inputs, options, progress=False)
    answer = generated.ids[0, generated.prompt_length :].tolist()
    pairs = zip(answer, traced.answer_ids.tolist(), strict=False)
    same = next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), len(answer) - 1) + 1
    if not rows:
        return Finding(name=name, passed=None, note="eager attention gave no weights")
    crossing = family.crossing_layers(model)
    layers, steps = traced.num_layers, min(same, traced.num_steps)
    outside = traced.num_prompt_keys - inputs["input_ids"].shape[1] if crossing else 0
    worst = 0.0
    for number, row in enumerate(rows[: layers * steps]):
        step, place = divmod(number, layers)
        end = traced.num_prompt_keys - outside + step
        crosses = traced.layer_indices[place] in crossing
        gap = _row_gap(traced.attention[step, place], row, outside=outside, end=end, crosses=crosses)
        worst = max(worst, gap)
    limit = _ROW_TOLERANCE.get(decoder_dtype(model, family), 1e-4)
    note = "" if steps == traced.num_steps else f"over {steps} steps: then eager chose another token"
    return Finding(name=name, passed=worst <= limit, value=f"{worst:.2g}", limit=f"{limit:.2g}", note=note)


def _row_gap(ours: torch.Tensor, row: torch.Tensor, *, outside: int, end: int, crosses: bool) -> float:
    """Largest difference between a traced row ``[head, key]`` and an eager one ``[head, column]``."""
    if crosses:  # unused tiles come last
        return (ours[:, :outside] - row[:, :outside]).abs().max().item()
    width = min(row.shape[-1], end)  # a windowed layer gives fewer columns, the last ones
    return (ours[:, outside : outside + end][:, end - width :] - row[:, -width:]).abs().max().item()


@contextmanager
def _eager_rows(model: torch.nn.Module, family: Family, decoder: Any) -> Iterator[list[torch.Tensor]]:
    rows: list[torch.Tensor] = []

    def keep(_: AttentionCall, run: Any) -> KernelOutput:
        output, weights = run()
        if weights is not None:
            rows.append(weights[0, :, -1].detach().float().cpu())
        return output, None

    # A decoder may be shared by configs: each gets its own kernel back
    before = [(m.config, m.config._attn_implementation) for m in decoder.modules() if hasattr(m, "config")]  # noqa: SLF001
    decoder.set_attn_implementation("eager")
    tap = family.make_tap(model, lambda: 0, keep)
    tap.install()
    try:
        yield rows
    finally:
        tap.remove()
        for config, kernel in before:
            config._attn_implementation_internal = kernel  # noqa: SLF001 - the setter would also set sub-configs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blindfold:
    """Takes all attention off the image: a planted edit."""

    def start(self, model_info: ModelInfo) -> Session:
        del model_info
        return _BlindSession()

    def describe(self) -> dict[str, Any]:
        return {"name": "blindfold"}


class _BlindSession(Session):
    def edit_attention(self, rows: AttentionRows) -> torch.Tensor | None:
        seen = rows.weights.masked_fill(rows.image_keys.unsqueeze(-2), 0.0)
        left = seen.sum(-1, keepdim=True)
        return torch.where(left > 0, seen / left.clamp(min=1e-30), rows.weights)


def _edit(model: torch.nn.Module, family: Family, inputs: dict[str, Any]) -> Finding:
    name = "hiding the image moves the logits"
    if family.crossing_layers(model):
        return Finding(name=name, passed=None, note="interventions do not reach cross-attention layers")
    options = plain_settings(family.core(model)) | {"max_new_tokens": 1, "do_sample": False}
    run = partial(generate_answer, model, family, inputs, options, progress=False)
    plain = run().logits
    with intervene(model, _Blindfold(), family=family) as handle:
        edited = run().logits
    moved = (edited - plain).abs().max().item()
    heads = handle.report()[0]["edited_heads"]
    return Finding(name=name, passed=moved > 0, value=f"by {moved:.2g}", note=f"{heads} heads edited")


def _padding(effect: PaddingEffect) -> Finding:
    name, found = "a padded sample has its own logits", effect.agreement
    value, limit = ("", "") if found is None else (f"{found.difference:.2g}", f"{found.tolerance:.2g}")
    if effect.reason:
        refused = "padded batches are refused: one sample at a time"
        note = refused if found else f"{effect.reason}; {refused}"
        return Finding(name=name, passed=False, value=value, limit=limit, note=note, needed=False)
    return Finding(name=name, passed=None if found is None else True, value=value, limit=limit, note=effect.note)


def _cells(traced: Trace) -> Finding:
    name = "every image token has its cell"
    keys, cells = int(traced.image_keys.sum()), sum(len(image.cells) for image in traced.layout.images)
    unknown = next((image.reason for image in traced.layout.images if image.reason), "")
    value = f"{keys} image tokens, {cells} cells"
    if not keys:
        return Finding(name=name, passed=False, value=value, note="no image token was found in the prompt")
    return Finding(name=name, passed=keys == cells, value=value, note=unknown and f"no place in the image: {unknown}")
