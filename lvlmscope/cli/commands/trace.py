"""`lvlmscope trace`: a trace of any model and image, with its figures."""

from pathlib import Path
from typing import Any, Final
from warnings import catch_warnings, filterwarnings

import xarray as xr

from lvlmscope import plot
from lvlmscope.capture.seeding import UNUSED_SEED
from lvlmscope.capture.trace_one import trace
from lvlmscope.cli.console import console, extreme_heads, print_json
from lvlmscope.cli.output_folder import result_folder
from lvlmscope.cli.progress import stages
from lvlmscope.diagnostics import image_attention_focus, layer_image_entropy
from lvlmscope.errors import GeometryError
from lvlmscope.explorer import report
from lvlmscope.traces.intervention_effect import Effect, effect
from lvlmscope.traces.trace import Trace
from lvlmscope.verification.loading import load

__all__ = ["SAVED", "run_trace", "save_figures"]

SAVED: Final[dict[str, Any]] = {"bbox_inches": "tight", "pad_inches": 0.12, "dpi": 130}


def run_trace(
    image: str,
    prompt: str,
    out: Path,
    *,
    loading: dict[str, Any],
    as_json: bool,
    compare: bool,
    options: dict[str, Any],
) -> None:
    """Traces, writes trace, figures and report, and prints their paths.

    Args:
        image: Image file, or an http(s) URL.
        prompt: Question or instruction.
        out: Folder for the results.
        loading: Arguments of `load`.
        as_json: One JSON object instead of text.
        compare: With interventions, trace without them too and show both in the report.
        options: Further arguments of `trace`.
    """
    before, effects = None, None
    with result_folder(out) as folder, stages(shown=not as_json) as stage:
        loaded = load(**loading)
        core = loaded.family.core(loaded.model)
        tokens = options.get("max_new_tokens")  # none with a given answer
        if compare and options["interventions"]:
            plain = options | {"interventions": []}
            with stage.counting("tracing without the intervention", core, total=tokens), catch_warnings():
                filterwarnings("ignore", UNUSED_SEED.split("=", maxsplit=1)[0])  # the intervention may draw
                before = trace(loaded, image, prompt, progress=False, **plain)
            before.save(folder / "trace_without_intervention.safetensors")
        with stage.counting("tracing", core, total=tokens):
            traced = trace(loaded, image, prompt, progress=False, **options)
        traced.save(folder / "trace.safetensors")
        stage.begin("drawing figures and report")
        report(before or traced, folder / "report.html", compare=traced if before else None, model=loaded)
        notes = save_figures(traced, folder)
        if before is not None:
            effects = effect(before, traced)
            plot.compare(before, traced).savefig(folder / "compare.png", **SAVED)
        names = sorted(path.name for path in folder.iterdir())
    if as_json:
        summary = {
            "answer": traced.answer,
            "answer_without_intervention": before.answer if before else None,
            "steps": traced.num_steps,
            "effects": list(traced.effects),
            "files": [str(out / name) for name in names],
            "notes": notes,
            "provenance": traced.provenance,
        }
        print_json(summary)
        return
    _print_summary(traced, before, effects)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"written to {out}: {', '.join(names)}", soft_wrap=True, markup=False)


def _print_summary(traced: Trace, before: Trace | None, effects: Effect | None) -> None:
    most, least = extreme_heads(traced)
    console.print(traced, soft_wrap=True, markup=False)
    console.print(f"looks at the image most:  {most}\nlooks at the image least: {least}")
    if before is not None:
        console.print(f"without intervention: {before.answer.strip()}\n{effects}", soft_wrap=True, markup=False)


def save_figures(traced: Trace, folder: Path, *, words: tuple[str | int, ...] = (), **marks: Any) -> list[str]:
    """Writes heatmap.png, overlay.png and timeline.png.

    Args:
        folder: Where to.
        words: Words for the overlay; without any, the word that looked at the image most.
        **marks: `grounded` and `hallucinated` words of the timeline.

    Returns:
        A note for each figure that could not be drawn, with the reason.
    """
    plot.heatmap(traced).savefig(folder / "heatmap.png", **SAVED)
    plot.timeline(traced, _signals(traced), **marks).savefig(folder / "timeline.png", **SAVED)
    chosen = words or (int(traced.rows().image_mass.mean((1, 2)).argmax()),)
    try:
        plot.overlay(traced, list(chosen)).savefig(folder / "overlay.png", **SAVED)
    except GeometryError as error:
        return [f"no overlay: {error}"]
    return []


def _signals(traced: Trace) -> dict[str, xr.DataArray]:
    """What the timeline shows, by panel title."""
    return {
        "next-token entropy (nats)": traced.to_xarray()["entropy"],
        "image attention focus (share of 1)": image_attention_focus(traced),
        "layer image entropy (nats)": layer_image_entropy(traced),
    }
