"""`trace_many` and a sweep beside batched plain generation of the same items."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import lvlmscope as lv
from benchmarks.tables import Plan, Table
from benchmarks.timing import in_turn, timing_row
from lvlmscope.evaluation import bundled_dataset
from lvlmscope.evaluation.captioning import timed_answers

__all__ = ["measure"]

IMAGES, QUESTION = 16, "Describe the image."


def wide(model: lv.LoadedModel, width: int) -> lv.LoadedModel:
    """The bundled model's layout with random weights of another width, so that the model takes most of the time.

    Args:
        model: The bundled model.
        width: Size of the residual stream.
    """
    from transformers import LlavaForConditionalGeneration

    config = copy.deepcopy(model.model.config)
    config.text_config.update({"hidden_size": width, "intermediate_size": 4 * width})
    config.text_config.head_dim = width // config.text_config.num_attention_heads
    torch.manual_seed(0)
    made = LlavaForConditionalGeneration(config).eval()
    made.generation_config = copy.deepcopy(model.model.generation_config)
    return lv.load((made, model.processor), check=False)


def measure(plan: Plan) -> Table:
    """Seconds an image.

    Args:
        plan: What to run.
    """
    bundled = lv.load("tiny", check=False)
    rows: list[dict[str, Any]] = []
    for name, model, sizes in (("bundled", bundled, (1, 8, 32)), ("width 768", wide(bundled, 768), (8,))):
        model.model.to(plan.device)
        for batch in sizes:
            rows += _rows(plan, name, model, batch)
    return Table(
        title="Many images",
        about=f"{IMAGES} scenes of the bundled data set (32 in batches of 32), greedy captions of at most "
        f"{plan.tokens // 2} tokens, on the bundled model (8 layers of width 192) and on its layout with random "
        "weights of another width. Each run prepares the images and decodes; `sweep` also reduces all signals that "
        "need neither gradients nor hidden states and writes its Parquet files.",
        columns={"model": "text", "batch": "count", "run": "text", "wall": "ms", "wall_ratio": "x"}
        | {"cpu": "ms", "cpu_ratio": "x"},
        rows=rows,
    )


def _rows(plan: Plan, name: str, model: lv.LoadedModel, batch: int) -> list[dict[str, Any]]:
    count = max(IMAGES, batch)
    whole = bundled_dataset("tiny-chair", n=-(-count // 3))
    whole = replace(whole, items=whole.items[:count])
    pairs = [(item.open, QUESTION) for item in whole.items]
    options: dict[str, Any] = {"max_new_tokens": max(plan.tokens // 2, 4), "batch_size": batch}
    many = partial(_trace_many, model, pairs, options)
    variants: dict[str, Callable[[], Any]] = {
        "generate": lambda: timed_answers(model.model, model.processor, pairs, **options),
        "trace_many": many,
        "trace_many(gradients=True)": partial(many, gradients=True),
        "sweep": lambda: _sweep(model, whole, options),
    }
    times = in_turn(variants, plan.rounds)
    found = []
    for run, own in times.items():
        row = timing_row(own, times["generate"])
        row |= {clock: row[clock] / count for clock in ("wall", "cpu")}
        found.append({"model": name, "batch": batch, "run": run} | row)
    return found


def _trace_many(model: lv.LoadedModel, pairs: Any, options: dict[str, Any], *, gradients: bool = False) -> None:
    examples = [(image(), question) for image, question in pairs]
    for _ in lv.trace_many(model, examples, gradients=gradients, progress=False, **options):
        pass


def _sweep(model: lv.LoadedModel, items: Any, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lv.sweep(model, items, folder, part_size=max(16, options["batch_size"]), progress=False, **options)
