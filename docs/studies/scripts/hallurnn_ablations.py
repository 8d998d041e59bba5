"""Trains the five cells on one small budget and measures them beside the shipped one.

    python docs/studies/scripts/hallurnn_ablations.py OUT [--steps 120] [--captions 300]

A cell that is already in OUT is not trained again. Writes
docs/studies/data/hallurnn_ablations.json and prints the table.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lvlmscope as lv
from lvlmscope.evaluation.captioning import answers
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.training import TrainingOptions, read_records, train_cell, write_scenes

HERE = Path(__file__).parents[1]
SPLITS = ("neutral", "prior", "hard")
CELLS: dict[str, tuple[dict[str, Any], float]] = {  # options and peak rate
    "dual": ({}, 1e-2),
    "constraint": ({"gates": "constraint"}, 1e-2),
    "correction": ({"gates": "correction"}, 1e-2),
    "confidence": ({"weighting": "confidence"}, 1e-2),
    "residual_gru": ({"cell": "residual_gru"}, 1e-3),  # it adds to the stream freely: at 3e-3 its validation loss rose
}


def train_all(out: Path, steps: int, scenes: int, names: Sequence[str]) -> None:
    """Trains what is missing, each cell with the same data, seed and number of steps."""
    if not (out / "scenes/llava_instruct.json").exists():
        write_scenes(out / "scenes", n=scenes, surprising=0.5)
    records, _ = read_records(out / "scenes/llava_instruct.json", out / "scenes/images")
    DepthCell(CellConfig(hidden_size=192), bias=1.0).save(out / "untrained")  # what damping alone does
    for name, (kind, rate) in CELLS.items():
        if name not in names or (out / name / "cell.json").exists():
            continue
        settings: dict[str, Any] = {"max_steps": steps, "rate": rate, "batch": 24, "emphasis": 8.0}
        options = TrainingOptions(output=out / name, save_steps=steps, gradient_checkpointing=False, **settings)
        cell = DepthCell(CellConfig(hidden_size=192, **kind), bias=1.0 if name != "residual_gru" else 6.0)
        train_cell(lv.load("tiny"), records, options, cell=cell)


def measure(model: lv.LoadedModel, cell: str | None, held: list[lv.tiny.Scene]) -> tuple[Any, dict[str, Any]]:
    """CHAIR of greedy captions, and what the intervention reports."""
    texts, report = captions(model, cell, held)
    return lv.evaluation.chair(texts, [scene.present for scene in held], vocabulary()), report


def captions(model: lv.LoadedModel, cell: str | None, held: list[lv.tiny.Scene]) -> tuple[list[str], dict[str, Any]]:
    """Greedy captions, and what the intervention reports."""
    pairs = [(scene.image, PROMPT) for scene in held]
    interventions = [] if cell is None else [lv.HalluRNN(cell=cell)]
    with lv.intervene(model, *interventions) as handle:
        texts = answers(model.model, model.processor, pairs, max_new_tokens=MAX_NEW_TOKENS, description=cell or "plain")
    return texts, handle.report()[0] if interventions else {}


def interval(plain: Any, edited: Any, rounds: int = 2000) -> tuple[float, float]:
    """Paired bootstrap 95 % interval of the difference in CHAIR_I, over captions."""
    chosen = np.random.default_rng(0).integers(0, len(plain.named), (rounds, len(plain.named)))
    parts = [s.hallucinated[chosen].sum(1) / s.named[chosen].sum(1) for s in (edited, plain)]
    low, high = np.quantile(parts[0] - parts[1], [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Trains, measures, writes and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--captions", type=int, default=300)
    parser.add_argument("--only", nargs="*", help="train and measure these cells only; the others keep their numbers")
    given = parser.parse_args()
    train_all(given.out, given.steps, given.scenes, given.only or tuple(CELLS))
    held = [one for split in SPLITS for one in lv.tiny.scenes(split, n=given.captions // len(SPLITS), seed=0)]
    model = lv.load("tiny")
    cells: dict[str, str | None] = {
        "plain": None,
        "shipped": "tiny",
        **{name: str(given.out / name) for name in ("untrained", *CELLS)},
    }
    target = HERE / "data/hallurnn_ablations.json"
    results: dict[str, Any] = json.loads(target.read_text())["results"] if given.only else {}
    plain = None
    for name, cell in cells.items():
        if given.only and name not in ("plain", *given.only):
            continue
        scores, report = measure(model, cell, held)
        plain = plain or scores
        low, high = interval(plain, scores)
        results[name] = scores.summary() | {"chair_i_difference": [low, high], "report": report}
        shown = " | ".join(f"{results[name][key]:.3f}" for key in ("chair_i", "chair_s", "recall"))
        print(f"| {name} | {shown} | {results[name]['mean_words']:.1f} | {low:+.3f} to {high:+.3f} |", flush=True)  # noqa: T201 - the table
    told = {"steps": given.steps, "scenes": given.scenes, "captions": len(held), "results": results}
    target.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
