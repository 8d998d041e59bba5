"""Memory beyond that of plain `generate` as the prompt grows, and what `lvlmscope.estimate` says of it before."""

from functools import partial
from typing import Any

import torch

import lvlmscope as lv
from benchmarks.peaks import device_peak, resident_peaks
from benchmarks.shapes import Prepared, build
from benchmarks.tables import Plan, Table
from benchmarks.traces import eager_attentions, settings

__all__ = ["measure"]

LENGTHS = (600, 1_200, 2_400, 4_800)
RUNS = ("generate", "trace", "trace(gradients=True)", "generate(output_attentions=True), eager")
_SQUARE_UP_TO = 2_400  # eager attention keeps all rows: four times as much for twice the prompt


def filled(inputs: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """A prompt with text up to a length.

    Args:
        inputs: Inputs of one sample.
        length: Tokens.
    """
    ids = inputs["input_ids"]
    ids = (
        ids[:, :length] if ids.shape[1] > length else torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=77)
    )
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _run(prepared: Prepared, run: str, length: int, tokens: int) -> None:
    model, inputs = prepared.model, filled(prepared.inputs, length)
    model.config.get_text_config().max_position_embeddings = 2 * LENGTHS[-1]
    if run == "generate":
        model.generate(**inputs, **settings(tokens))
    elif run.startswith("trace"):
        lv.trace_inputs(model, inputs, gradients="gradients" in run, progress=False, **settings(tokens))
    else:
        eager_attentions(model, inputs, tokens)


def _alone(name: str, run: str, length: int, tokens: int) -> None:
    """One run in a process of its own."""
    _run(build(name), run, length, tokens)


def measure(plan: Plan) -> Table:
    """MB by run and length of the prompt.

    Args:
        plan: What to run.
    """
    name, tokens = plan.shapes[0], plan.tokens
    cases = [(run, length) for run in RUNS for length in LENGTHS if length <= _SQUARE_UP_TO or "eager" not in run]
    if plan.on_accelerator:
        prepared = plan.prepared(name)
        found = [device_peak(partial(_run, prepared, *case, tokens)) for case in cases]
    else:
        warm = [(name, run, LENGTHS[0], 2) for run, _ in cases]  # fewer would cut the image
        found = resident_peaks(_alone, [(name, *case, tokens) for case in cases], warm=warm, threads=plan.threads)
    peaks = dict(zip(cases, found, strict=True))
    rows: list[dict[str, Any]] = [
        {"run": "generate itself, beyond the model"} | {str(each): peaks[RUNS[0], each] for each in LENGTHS}
    ]
    for run in RUNS[1:]:
        known = {str(each): peaks[run, each] - peaks[RUNS[0], each] for each in LENGTHS if (run, each) in peaks}
        rows.append({"run": run} | known)
    for run, gradients in ((RUNS[1], False), (RUNS[2], True)):
        estimates = {str(each): _estimated(plan.prepared(name), each, tokens, gradients) for each in LENGTHS}
        rows.append({"run": f"lvlmscope.estimate of {run}"} | estimates)
    return Table(
        title="Memory as the prompt grows",
        about=f"{name}, {tokens} new tokens, the prompt filled with text to the tokens that head the columns. Peaks of "
        "processes of their own, or of the accelerator, beyond that of `generate` on the same prompt; the estimate "
        "is of tensors, made before anything runs. Eager attention is left out at the longest prompt, where its square "
        "would not fit.",
        columns={"run": "text"} | {str(each): "MB" for each in LENGTHS},
        rows=rows,
    )


def _estimated(prepared: Prepared, length: int, tokens: int, gradients: bool) -> float:
    inputs = filled(prepared.inputs, length)
    return lv.estimate(prepared.model, inputs=inputs, gradients=gradients, max_new_tokens=tokens).peak / 1e6
