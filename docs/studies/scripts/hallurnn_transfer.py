"""Does a depth cell carry over to another model of the same width? Two models of one recipe, two seeds.

python -m lvlmscope.tiny.recipe.train SECOND --seed 8            the other model; it is not shipped
python docs/studies/scripts/hallurnn_transfer.py SECOND/model OUT [--steps 120] [--captions 300]

Trains a cell for each model on one small budget, measures each on both, the shipped cell and untrained gates beside
them, and the first model's cell after a quarter of the budget on the second. A cell that is in OUT is not trained
again. Beside each difference from the plain model stands that from its captions cut to as many mentions. Writes
docs/studies/data/hallurnn_transfer.json and prints the table.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from hallurnn_ablations import SPLITS, captions, interval

import lvlmscope as lv
from lvlmscope.evaluation import cut_to_mentions
from lvlmscope.evaluation.metrics.vocabulary import vocabulary
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.training import TrainingOptions, read_records, train_cell, write_scenes

TARGET = Path(__file__).parents[1] / "data/hallurnn_transfer.json"


def trained(out: Path, model: lv.LoadedModel, *, steps: int, start: Path | None = None) -> str:
    """A cell trained on one model, from nearly open gates or from another cell; its folder."""
    if not (out / "cell.json").exists():
        records, _ = read_records(out.parent / "scenes/llava_instruct.json", out.parent / "scenes/images")
        settings: dict[str, Any] = {"max_steps": steps, "rate": 1e-2, "batch": 24, "emphasis": 8.0}
        options = TrainingOptions(output=out, save_steps=steps, gradient_checkpointing=False, **settings)
        cell = DepthCell.load(start) if start else DepthCell(CellConfig(hidden_size=192), bias=1.0)
        train_cell(model, records, options, cell=cell)
    return str(out)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--scenes", type=int, default=6000)
    parser.add_argument("--captions", type=int, default=300)
    return parser.parse_args()


def all_cells(given: argparse.Namespace, models: dict[str, lv.LoadedModel]) -> dict[str, dict[str, str | None]]:
    """Folders of the cells to be measured on each model, by what they are."""
    out, brief = given.out, given.steps // 4
    if not (out / "scenes/llava_instruct.json").exists():
        write_scenes(out / "scenes", n=given.scenes, surprising=0.5)
    DepthCell(CellConfig(hidden_size=192), bias=1.0).save(out / "untrained")
    both: dict[str, str | None] = {"plain": None, "gates as they begin": str(out / "untrained"), "shipped": "tiny"}
    for name, model in models.items():
        both[f"trained on the {name}"] = trained(out / name, model, steps=given.steps)
    carried = trained(out / "carried", models["second"], steps=brief, start=out / "first")
    fresh = trained(out / "brief", models["second"], steps=brief)
    label = "a quarter of the steps on the second"
    return {"first": both, "second": both | {f"the first's, then {label}": carried, f"{label} alone": fresh}}


def scored(texts: list[str], held: list[lv.tiny.Scene]) -> Any:
    """CHAIR of captions of the held scenes."""
    return lv.evaluation.chair(texts, [scene.present for scene in held], vocabulary())


def main() -> None:
    """Trains, measures, writes and prints."""
    given = arguments()
    models = {"first": lv.load("tiny"), "second": lv.load(str(given.second), dtype="float32")}
    words = vocabulary()
    held = [one for split in SPLITS for one in lv.tiny.scenes(split, n=given.captions // len(SPLITS), seed=0)]
    results: dict[str, dict[str, Any]] = {}
    for name, cells in all_cells(given, models).items():
        results[name] = {}
        plain: list[str] = []
        for label, cell in cells.items():
            texts, report = captions(models[name], cell, held)
            plain = plain or texts
            scores = scored(texts, held)
            cut = cut_to_mentions(plain, scores.named.tolist(), words)
            gaps = [interval(scored(other, held), scores) for other in (plain, cut)]
            found = scores.summary() | {"chair_i_difference": gaps[0], "beyond_cut_captions": gaps[1], "report": report}
            results[name][label] = found
            shown = f"{found['chair_i']:.3f} | {found['recall']:.3f} | {found['mean_words']:.1f}"
            ranges = " | ".join(f"{low:+.3f} to {high:+.3f}" for low, high in gaps)
            print(f"| {name} | {label} | {shown} | {ranges} |", flush=True)  # noqa: T201 - the table
    told = {"steps": given.steps, "scenes": given.scenes, "captions": len(held), "results": results}
    TARGET.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
