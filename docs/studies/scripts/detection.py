"""Measures the signals on held-out scenes; about ten minutes on two cores.

python docs/studies/scripts/detection.py [SCENES]

Writes docs/studies/data/detection.json and prints the tables of docs/studies/detection.md.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lvlmscope as lv
from lvlmscope.evaluation import Detection, LabelledWord, label_words, vocabulary
from lvlmscope.evaluation.bundled_benchmark import SPLITS
from lvlmscope.evaluation.labelled_images import MAX_NEW_TOKENS, PROMPT
from lvlmscope.evaluation.metrics.ranking import auroc, estimate, resampled_weights
from lvlmscope.evaluation.signal_detection import detect
from lvlmscope.evaluation.signal_registry import SIGNALS
from lvlmscope.evaluation.word_table import WordTable, read_words
from lvlmscope.risk import bundled_calibration
from lvlmscope.risk.word_risk import judged_words, read, word_risks
from lvlmscope.tiny import scenes

DATA = Path(__file__).parents[1] / "data"
SCENES = 300


@dataclass
class Run:
    """What is kept of the traces as they pass by."""

    labels: list[tuple[LabelledWord, ...]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    risks: dict[str, list[float]] = field(default_factory=lambda: {"plain trace": [], "everything": []})

    def traces(self, model: Any, count: int) -> Iterator[lv.Trace]:
        """Traces of `count` scenes of each split; labels, splits and the shipped calibration's risks are kept."""
        calibration = bundled_calibration()
        plain = tuple(signal for signal in SIGNALS.values() if not signal.needs)
        options = {"gradients": True, "hidden_states": True, "max_new_tokens": MAX_NEW_TOKENS, "progress": False}
        for scene in tqdm([one for split in SPLITS for one in scenes(split, n=count)], mininterval=10):
            trace = lv.trace(model, scene.image, PROMPT, **options)
            self.labels.append(label_words(trace, scene.present, vocabulary()))
            judged = judged_words(trace, calibration.vocabulary)
            for name, signals in (("plain trace", plain), ("everything", tuple(SIGNALS.values()))):
                values = read(trace, judged, signals, calibration=calibration, model=model, tokens="first")
                self.risks[name] += [word.risk for word in word_risks(values)]
            self.splits += [scene.split] * len(judged)
            yield trace


def by_split(table: WordTable, found: Detection, splits: np.ndarray) -> dict[str, Any]:
    """AUROC of each signal within each split, greater values taken for hallucinated, at the layer most folds chose."""
    told: dict[str, Any] = {}
    for split in SPLITS:
        chosen, areas = splits == split, {}
        for signal in table.signals:
            layers = Counter(found[signal.name].layers).most_common(1)
            place = table.layers[signal.name].index(layers[0][0]) if layers else 0
            values = table.values[signal.name][chosen, place]
            known = np.isfinite(values)
            areas[signal.name] = float(
                auroc(values[known], table.hallucinated[chosen][known], np.ones((1, known.sum())))[0]
            )
        told[split] = {
            "words": int(chosen.sum()),
            "hallucinated": int(table.hallucinated[chosen].sum()),
            "auroc": areas,
        }
    return told


def main() -> None:
    """Traces the scenes once, reads everything from those traces, and writes and prints it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SCENES
    model, run = lv.load("tiny"), Run()
    table = read_words(run.traces(model, count), (run.labels[n] for n in range(len(SPLITS) * count)), model=model)
    found = detect(table)
    weights = resampled_weights(table.trace, resamples=1000, seed=0)
    shipped = {}
    for name, risks in run.risks.items():
        area = estimate(auroc(np.array(risks), table.hallucinated, weights), 0.95)
        shipped[name] = [area.value, area.low, area.high]
    told = found.to_json() | {"scenes_of_each_split": count, "shipped_risk": shipped}
    told["by_split"] = by_split(table, found, np.array(run.splits))
    (DATA / "detection.json").write_text(json.dumps(told, indent=1) + "\n")
    sys.stdout.write(f"{found}\n\n{found.to_markdown()}\n\n{json.dumps(shipped)}\n")
    sys.stdout.write(f"{found.by_layer['auroc'].to_pandas().round(2).to_string()}\n")


if __name__ == "__main__":
    main()
