"""What each attention method does to layers that D-LEAF's rule finds at fault, and to those that it does not.

python docs/studies/scripts/dleaf_layers.py [--scenes 20] [NAME ...]

The question of D-LEAF's figure 4. Each plain caption of 20 scenes of a split is given again as the answer, under
each method with the setting that all_methods.py tuned: the same words, so rows can be compared. A layer is at fault
at a word where D-LEAF's rule flags it in the plain trace. Writes docs/studies/data/dleaf_layers.json and
docs/images/dleaf_layers.png, and prints the table.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np

mpl.use("agg")
import matplotlib.pyplot as plt
from all_methods import model, say, setting

import lvlmscope as lv
from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads

HERE: Final = Path(__file__).parents[2]
ATTENTION: Final = ("DLEAF", "HeadRescaling", "LocoRE", "CLVA", "SPIN", "ADHH", "PAI", "HalluRNN")
Arrays = dict[str, np.ndarray]


def rows_of(trace: lv.Trace) -> Arrays:
    """Image attention (mean of heads) and layer image entropy in nats, [step, layer]."""
    rows = trace.rows()
    return {"attention": rows.image_mass.mean(-1).numpy(), "entropy": rows.layer_image_entropy.numpy()}


def traced(scene: Any, name: str | None, answer: Any = None) -> lv.Trace:
    """One trace, plain and generated, or of that answer under a method."""
    stack = [] if name is None else [setting(name)]
    given: dict[str, Any] = {"max_new_tokens": 48} if answer is None else {"answer": answer}
    asked = (scene.image, "Describe the image.")
    return lv.trace(model(), *asked, interventions=stack, keep="all", progress=False, **given)


def measured(names: list[str], count: int) -> dict[str, list[Arrays]]:
    """For each scene the plain rows with the faults, and each method's."""
    found: dict[str, list[Arrays]] = {name: [] for name in ("plain", *names)}
    for split in ("neutral", "prior", "hard"):
        for scene in lv.tiny.scenes(split, n=count):
            plain = traced(scene, None)
            faults = flagged_heads(plain).any("head").transpose("step", "layer").values.astype(bool)
            found["plain"].append(rows_of(plain) | {"fault": faults})
            for name in names:
                found[name].append(rows_of(traced(scene, name, plain.answer_ids)))
    return found


def interval(values: np.ndarray, rounds: int = 2000) -> list[float]:
    """Mean over scenes, with the 95 % interval of a bootstrap."""
    values = values[~np.isnan(values)]
    drawn = np.random.default_rng(0).integers(0, len(values), (rounds, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return [float(values.mean()), float(low), float(high)]


def summary(found: dict[str, list[Arrays]]) -> dict[str, Any]:
    """Changes by method: at fault and not, and by layer."""
    plain = found["plain"]
    told: dict[str, Any] = {
        "scenes": len(plain),
        "fault rate": np.concatenate([p["fault"] for p in plain]).mean(0).tolist(),
    }
    for name, each in found.items():
        if name == "plain":
            continue
        told[name] = {}
        for what in ("attention", "entropy"):
            gaps = [own[what] - p[what] for own, p in zip(each, plain, strict=True)]
            told[name][what] = {
                label: interval(
                    np.array(
                        [
                            gap[p["fault"] == kind].mean() if (p["fault"] == kind).any() else np.nan
                            for gap, p in zip(gaps, plain, strict=True)
                        ]
                    )
                )
                for label, kind in (("at fault", True), ("not at fault", False))
            }
            size = np.concatenate([np.abs(gap)[~p["fault"]] for gap, p in zip(gaps, plain, strict=True)])
            told[name][what]["moved though not at fault"] = float(
                (size > (0.01 if what == "attention" else 0.05)).mean()
            )
            told[name][what]["by layer"] = np.concatenate(gaps).mean(0).tolist()
    return told


def draw(told: dict[str, Any], names: list[str]) -> None:
    """Change of each layer's image attention and entropy by method, under the rate at which the layer is at fault."""
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 4.6), height_ratios=[1, 3], layout="constrained", sharex="col")
    for place, (what, units) in enumerate((("attention", "share of attention"), ("entropy", "nats"))):
        grid = np.array([told[name][what]["by layer"] for name in names])
        above, below = axes[:, place]
        above.bar(range(grid.shape[1]), told["fault rate"], color="#666666")
        above.set(ylim=(0, 1), title=f"image {what}", ylabel="at fault,\nshare of words" if place == 0 else "")
        most = float(np.abs(grid).max())
        shown = below.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        below.set(xlabel="layer", yticks=range(len(names)), yticklabels=names if place == 0 else [""] * len(names))
        for row, column in np.ndindex(grid.shape):
            ink = "white" if abs(grid[row, column]) > 0.6 * most else "black"
            below.text(column, row, f"{grid[row, column]:+.2f}", ha="center", va="center", fontsize=7, color=ink)
        figure.colorbar(shown, ax=below, label=f"change, {units}")
    figure.savefig(HERE / "images/dleaf_layers.png", dpi=90)


def main() -> None:
    """Measures, writes, draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(ATTENTION))
    parser.add_argument("--scenes", type=int, default=20)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    told = summary(measured(asked.names, asked.scenes))
    (HERE / "studies/data/dleaf_layers.json").write_text(json.dumps(told, indent=1) + "\n")
    draw(told, asked.names)
    say(
        "| | image attention, at fault | not at fault | moved > 0.01 though not at fault "
        "| entropy, at fault | not at fault |"
    )
    say("|---|---|---|---|---|---|")
    for name in asked.names:
        attention, entropy = told[name]["attention"], told[name]["entropy"]
        cells = [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*one[kind])
            for one in (attention, entropy)
            for kind in ("at fault", "not at fault")
        ]
        cells.insert(2, f"{attention['moved though not at fault']:.0%}")
        say(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
