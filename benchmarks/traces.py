"""A trace beside plain `generate`, and beside the ways in which attention and its gradients are read without one."""

from collections.abc import Callable
from typing import Any

import torch

import lvlmscope as lv
from benchmarks.shapes import SHAPES, repeated
from benchmarks.tables import Plan, Table
from benchmarks.timing import in_turn, spent, timing_row

__all__ = ["eager_attentions", "measure", "one_backward_per_token", "settings"]


def settings(tokens: int) -> dict[str, Any]:
    """Options for greedy decoding of exactly so many tokens.

    Args:
        tokens: New tokens.
    """
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}


def eager_attentions(model: Any, inputs: dict[str, Any], tokens: int) -> None:
    """What `generate(output_attentions=True)` takes.

    Args:
        model: A bare model.
        inputs: Its inputs.
        tokens: New tokens.
    """
    before = model.config._attn_implementation  # noqa: SLF001 - transformers offers no other way to read it
    model.set_attn_implementation("eager")
    try:
        model.generate(**inputs, **settings(tokens), output_attentions=True, return_dict_in_generate=True)
    finally:
        model.set_attn_implementation(before)


def one_backward_per_token(model: Any, inputs: dict[str, Any], tokens: int) -> None:
    """Gradients of each token's loss to the attention, by a forward over the prefix and a backward of its own.

    Args:
        model: A bare model.
        inputs: Its inputs, of one sample.
        tokens: New tokens.
    """
    answer = model.generate(**inputs, **settings(tokens))
    before, weight = model.config._attn_implementation, model.get_input_embeddings().weight  # noqa: SLF001
    model.set_attn_implementation("eager")
    weight.requires_grad_(requires_grad=True)  # a leaf to hang the graph on
    try:
        start = inputs["input_ids"].shape[1]
        for step in range(tokens):
            ids = answer[:, : start + step]
            given = inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            output = model(**given, output_attentions=True, logits_to_keep=1)
            loss = -output.logits[0, -1].float().log_softmax(-1)[answer[0, start + step]]
            torch.autograd.grad(loss, output.attentions)
    finally:
        weight.requires_grad_(requires_grad=False)
        model.set_attn_implementation(before)


def measure(plan: Plan) -> Table:
    """Seconds of an answer, with its trace.

    Args:
        plan: What to run.
    """
    rows: list[dict[str, Any]] = []
    for name in plan.shapes:
        for batch in plan.batches if name == plan.shapes[0] else plan.batches[:1]:
            rows += _rows(plan, name, batch)
    shapes = "; ".join(f"{name}: {SHAPES[name].about}" for name in plan.shapes)
    return Table(
        title="A trace, with and without gradients",
        about=f"{plan.tokens} new tokens. {shapes}. One forward and backward a token is run once, not in every round. "
        "With gradients the aim is 1.20 times `generate`. The arithmetic of the replayed rows is counted above: what "
        "is over its ratio went into comparing logits and rows with `generate`, and into putting rows together.",
        columns={"model": "text", "batch": "count", "run": "text", "wall": "s", "wall_ratio": "x"}
        | {"cpu": "s", "cpu_ratio": "x"},
        rows=rows,
    )


def _rows(plan: Plan, name: str, batch: int) -> list[dict[str, Any]]:
    prepared, tokens = plan.prepared(name), plan.tokens
    model, inputs = prepared.model, repeated(prepared.inputs, batch)
    traced: dict[str, Any] = {"progress": False} | settings(tokens)
    variants: dict[str, Callable[[], Any]] = {
        "generate": lambda: model.generate(**inputs, **settings(tokens)),
        "trace": lambda: lv.trace_inputs(model, inputs, **traced),
        "trace(gradients=True)": lambda: lv.trace_inputs(model, inputs, gradients=True, **traced),
    }
    alone = batch == 1
    if alone:
        variants["generate(output_attentions=True), eager"] = lambda: eager_attentions(model, inputs, tokens)
    times = in_turn(variants, plan.rounds)
    floor = times["generate"]
    if alone and name == plan.shapes[0] and not plan.on_accelerator:
        once = spent(lambda: one_backward_per_token(model, inputs, tokens))
        times["one forward and backward a token, eager, once"] = [once] * len(floor)
    return [{"model": name, "batch": batch, "run": run} | timing_row(own, floor) for run, own in times.items()]
