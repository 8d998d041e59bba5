"""Measures what docs/studies/causal-evidence.md tells; some minutes for each part.

python docs/studies/scripts/causal_evidence.py detection [SCENES]
python docs/studies/scripts/causal_evidence.py patching [SCENES]

Writes docs/studies/data/causal_detection.json or causal_patching.json, and prints the page's tables.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

import lvlmscope as lv
from lvlmscope.evaluation import LabelledWord, label_words, vocabulary
from lvlmscope.evaluation.bundled_benchmark import SPLITS
from lvlmscope.evaluation.cross_validation import best_layer_scores, fold_of
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT
from lvlmscope.evaluation.metrics.ranking import auroc, estimate, resampled_weights
from lvlmscope.evaluation.paired_differences import paired_differences
from lvlmscope.evaluation.signal_detection import detect
from lvlmscope.evaluation.word_table import read_words
from lvlmscope.tiny import Scene, scene, scenes

DATA = Path(__file__).parents[1] / "data"
SCENES = {"detection": 40, "patching": 60}
LEAST = 0.5  # nats that a word must lose when its object is not drawn
LOST = "lost_without_image"
OTHERS = [
    "position",
    "log_prob",
    "entropy",
    "margin",
    "internal_confidence",
    "image_attention_focus",
    "layer_image_entropy",
]


def told(text: str) -> None:
    """Print."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@lv.signal(name="lost_without_image", kind="lens", suspicious="low", needs=("model",))
def lost_without_image(trace: lv.Trace, model: Any) -> xr.DataArray:
    """Log-probability that a token loses when no row sees the image in any layer, nats."""
    lost = lv.knockout(model, trace, words=range(trace.num_steps), to="all", layers=[None])[0]
    return xr.DataArray(lost.values, dims="step", attrs=lost.attrs)


def detection(model: Any, count: int) -> dict[str, Any]:
    """How well the loss tells hallucinated words from grounded ones, beside attention and confidence."""
    labels: list[tuple[LabelledWord, ...]] = []

    def traces() -> Iterator[lv.Trace]:
        for one in tqdm([each for split in SPLITS for each in scenes(split, n=count)], mininterval=10):
            trace = lv.trace(model, one.image, PROMPT, max_new_tokens=MAX_NEW_TOKENS, progress=False)
            labels.append(label_words(trace, one.present, vocabulary()))
            yield trace

    names = [*OTHERS, LOST]
    table = read_words(traces(), (labels[n] for n in range(len(SPLITS) * count)), signals=names, model=model)
    found = detect(table)
    told("| signal | AUROC | average precision | layer | hallucinated words |\n|---|---|---|---|---|")
    for row in sorted(found.rows, key=lambda each: -each.auroc.value):
        if row.kind != "combination":
            numbers = [cell([one.value, one.low, one.high]) for one in (row.auroc, row.average_precision)]
            layers = ", ".join(map(str, sorted(set(row.layers))))
            told(f"| {row.name} | {numbers[0]} | {numbers[1]} | {layers} | {row.direction} |")
    fold = fold_of(table.trace, table.hallucinated, folds=5, seed=0)
    weights = resampled_weights(table.trace, resamples=1000, seed=0)
    areas = {
        name: auroc(best_layer_scores(table.values[name], table.hallucinated, fold).scores, table.hallucinated, weights)
        for name in names
    }
    gains = {}
    for other in ("image_attention_focus", "position", "internal_confidence"):
        one = estimate(areas[LOST] - areas[other], 0.95)
        gains[other] = [one.value, one.low, one.high]
        told(f"AUROC of {LOST} minus that of {other}: {cell(gains[other])}")
    lost, told_of = table.values["lost_without_image"][:, 0], {}
    first = np.concatenate([[True], table.trace[1:] != table.trace[:-1]])  # each caption's first object word
    told("| object words | words | median nats lost | lose less than 0.1 nats |\n|---|---|---|---|")
    for name, chosen in (
        ("grounded, first of the caption", ~table.hallucinated & first),
        ("grounded, later", ~table.hallucinated & ~first),
        ("hallucinated, first of the caption", table.hallucinated & first),
        ("hallucinated, later", table.hallucinated & ~first),
    ):
        few = lost[chosen]
        told_of[name] = {"words": len(few), "median": float(np.median(few)), "unmoved": float((few < 0.1).mean())}
        told(f"| {name} | {len(few)} | {np.median(few):.2f} | {(few < 0.1).mean():.0%} |")
    return found.to_json() | {"scenes_of_each_split": count, "by_place": told_of, "gains": gains}


def pairs(model: Any, count: int) -> Iterator[tuple[int, lv.Trace, LabelledWord, Scene, tuple[int, ...]]]:
    """Grounded words whose object stands once in its scene, with the scene without it and the object's box."""
    for shown in tqdm(list(scenes("prior", n=count)), mininterval=10):
        trace = lv.trace(model, shown.image, PROMPT, max_new_tokens=MAX_NEW_TOKENS, progress=False)
        for word in label_words(trace, shown.present, vocabulary()):
            if word.label == "grounded" and shown.objects.count(str(word.category)) == 1:
                other = scene("prior", shown.index, without=str(word.category))
                yield shown.index, trace, word, other, shown.boxes[shown.objects.index(str(word.category))]


def patching(model: Any, count: int) -> dict[str, Any]:
    """Where the object's log-probability is recovered: by layer and place of the stream, and by layer and head."""
    stream: list[xr.DataArray] = []
    heads: list[xr.DataArray] = []
    groups: list[int] = []
    words = 0
    for number, trace, word, other, box in pairs(model, count):
        words += 1
        left, top, right, bottom = map(float, box)
        inside = trace.layout.keys_in(0, (left, top, right, bottom))
        at = {
            "object": inside.nonzero().flatten(),
            "rest of the image": (trace.image_keys & ~inside).nonzero().flatten(),
        }
        options: dict[str, Any] = {"words": word.steps[0], "smallest_gap": LEAST}
        one = lv.patch(model, trace, other.image, at=at | {"question": "question", "answer": "answer"}, **options)[
            ..., 0
        ]
        if bool(one.isnull().all()) or float(one.score - one.corrupted_score) < 0:
            continue
        stream.append(one)
        heads.append(lv.patch(model, trace, other.image, part="heads", **options)[..., 0, 0])
        groups.append(number)
    told(f"{words} grounded words, {len(stream)} of which lose {LEAST} nats or more without their object")
    found: dict[str, Any] = {"scenes": count, "words": words, "lost": len(stream)}
    places = np.unique(groups, return_inverse=True)[1]
    found["stream"] = recovered(stream, places, ("layer", "at"))
    found["heads"] = recovered(heads, places, ("layer", "head"))
    names = stream[0]["at"].values.tolist()
    told("| after layer | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for layer in stream[0].layer.values:
        told(f"| {layer} | " + " | ".join(cell(found["stream"][f"{layer} {name}"]) for name in names) + " |")
    best = sorted(found["heads"].items(), key=lambda each: -each[1][0])[:6]
    told("| layer, head | recovered |\n|---|---|")
    for name, numbers in best:
        told(f"| {name} | {cell(numbers)} |")
    return found


def recovered(each: list[xr.DataArray], groups: np.ndarray, dims: tuple[str, str]) -> dict[str, list[float]]:
    """Nats recovered over nats lost, of all words together, with the interval of a bootstrap over scenes."""
    gaps = np.array([float(one.score - one.corrupted_score) for one in each])
    before, after = {}, {}
    for row, first in enumerate(each[0][dims[0]].values):
        for column, second in enumerate(each[0][dims[1]].values):
            share = np.array([float(one[row, column]) for one in each])
            before[f"{first} {second}"], after[f"{first} {second}"] = (0 * gaps, gaps), (share * gaps, gaps)
    return {name: [one.value, one.low, one.high] for name, one in paired_differences(before, after, groups).items()}


def cell(numbers: list[float]) -> str:
    """A share with its interval."""
    value, low, high = numbers
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Measures one part."""
    part = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else SCENES[part]
    found = {"detection": detection, "patching": patching}[part](lv.load("tiny"), count)
    (DATA / f"causal_{part}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
