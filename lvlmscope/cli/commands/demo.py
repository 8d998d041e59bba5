"""`lvlmscope demo`: where the bundled model looked, what it hallucinated, and one intervention switched on."""

from pathlib import Path
from typing import Any, Final

from lvlmscope import plot
from lvlmscope.capture.trace_one import trace
from lvlmscope.cli.commands.trace import SAVED, save_figures
from lvlmscope.cli.console import coloured, console, extreme_heads, plain_output
from lvlmscope.cli.output_folder import result_folder
from lvlmscope.cli.progress import stages
from lvlmscope.errors import ImageInputError, message
from lvlmscope.evaluation import Mention, vocabulary
from lvlmscope.explorer import report
from lvlmscope.interventions import DLEAF
from lvlmscope.tiny import Scene, scene
from lvlmscope.traces.intervention_effect import Effect, effect
from lvlmscope.traces.trace import Trace
from lvlmscope.verification.loading import load

__all__ = ["IMAGES", "run_demo"]

# Held-out scenes of the "prior" split, seed 11, about which the model hallucinates. On the first six the intervention
# mends it; on the last two it does not.
IMAGES: Final = (112, 95, 363, 182, 226, 125, 0, 1)
SEED: Final = 11
TITLE: Final = "Where the model looked, and what it hallucinated"
PROMPT: Final = "Describe the image."
MAX_NEW_TOKENS: Final = 48
INTERVENTION: Final = DLEAF(gamma=0.5)


def run_demo(out: Path, image: str) -> None:
    """Traces an image without and with the intervention, prints what was seen, and writes it all.

    Args:
        out: Folder for the results.
        image: Number of a bundled image, or an image file.

    Raises:
        ImageInputError: Neither a number of a bundled image nor a readable file.
        OutputError: The folder cannot be written to.
    """
    bundled = scene("prior", IMAGES[int(image)], seed=SEED) if _is_number(image) else None
    with result_folder(out) as folder:
        # At strength 0 D-LEAF edits nothing and still tells which layers its rule flags.
        watching = {"tracing": [], "tracing layers": [DLEAF(gamma=0.0)], "tracing the intervention": [INTERVENTION]}
        with stages(shown=True) as stage:
            model = load("tiny")
            subject = image if bundled is None else bundled.image
            options: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "progress": False}
            traces = []
            for name, switched_on in watching.items():
                with stage.counting(name, model.family.core(model.model), total=MAX_NEW_TOKENS):
                    traces.append(trace(model, subject, PROMPT, interventions=switched_on, **options))
        before, watched, after = traces
        change = effect(before, after)
        _print_comparison(before, after, change, bundled, flagged=watched.effects[0]["flagged_rows_per_layer"])
        with stages(shown=True) as stage:
            stage.begin("drawing figures and report")
            _write(folder, before, after, bundled, model=model)
        names = sorted(path.name for path in folder.iterdir())
    console.print(f"\nwritten to {out}: {', '.join(names)}\nopen {out / 'page.html'}", soft_wrap=True)


def _write(folder: Path, before: Trace, after: Trace, bundled: Scene | None, *, model: Any) -> None:
    grounded, hallucinated = _mentions(before, bundled)
    words = _shown(before, grounded, hallucinated)
    save_figures(before, folder, words=words, grounded=grounded, hallucinated=hallucinated)
    plot.compare(before, after).savefig(folder / "compare.png", **SAVED)
    before.save(folder / "trace.safetensors")
    after.save(folder / "trace_with_intervention.safetensors")
    marks: dict[str, Any] = {
        "grounded": lambda t: _mentions(t, bundled)[0],
        "hallucinated": lambda t: _mentions(t, bundled)[1],
    }
    report(before, folder / "page.html", compare=after, title=TITLE, model=model, **marks)


def _shown(before: Trace, grounded: list[Mention], hallucinated: list[Mention]) -> tuple[str | int, ...]:
    """Words for the overlay: a grounded and two hallucinated ones; the one that looked most when none are known."""
    texts = [list(dict.fromkeys(before.answer[m.start : m.end] for m in found)) for found in (grounded, hallucinated)]
    most = int(before.rows().image_mass.mean((1, 2)).argmax())
    return (*texts[0][:1], *texts[1][:2]) or (most,)


def _is_number(image: str) -> bool:
    if not image.isdecimal() or Path(image).exists():
        return False
    if int(image) >= len(IMAGES):
        expected = f"a bundled image, 0 to {len(IMAGES) - 1}, or an image file"
        raise ImageInputError(message(f"image {image}", expected, "choose another --image", task="show the demo"))
    return True


def _mentions(traced: Trace, bundled: Scene | None) -> tuple[list[Mention], list[Mention]]:
    """Object words that are grounded and that are hallucinated; none of either when the objects are not known."""
    if bundled is None:
        return [], []
    found = vocabulary().mentions(traced.answer)
    grounded = [m for m in found if m.category in bundled.present]
    return grounded, [m for m in found if m.category not in bundled.present]


def _print_comparison(
    before: Trace, after: Trace, change: Effect, bundled: Scene | None, *, flagged: dict[str, int]
) -> None:
    present = bundled.present if bundled else None
    if bundled:
        console.print(f"[bold]in the image[/]  {', '.join(bundled.objects)}")
        hallucinated = "*hallucinated*" if plain_output() else "hallucinated"
        console.print(f"[dim]words about objects: [bold green]grounded[/], [bold red underline]{hallucinated}[/][/]")
    else:
        console.print("[dim]your own image: its objects are not known, so no word is marked[/]")
    found = vocabulary().mentions
    console.print("[bold]caption[/]         ", coloured(before.answer, found(before.answer), present))
    most, least = extreme_heads(before)
    console.print(f"[bold]looks most[/]      {most}\n[bold]looks least[/]     {least}")
    layers = ", ".join(f"{layer} ({count})" for layer, count in flagged.items())
    rule = f"(for so many of {before.num_steps} tokens, by D-LEAF's rule)"
    console.print(f"[bold]flagged layers[/]  {layers or 'none'} [dim]{rule}[/]")
    console.print(f"\n[bold]intervention[/]           {INTERVENTION}", soft_wrap=True)
    console.print("[bold]caption[/]         ", coloured(after.answer, found(after.answer), present))
    console.print(str(change), soft_wrap=True)
    if bundled:
        console.print(
            "[dim]an image chosen to show the intervention at work; docs/studies/dleaf.md measures it over 1,500[/]"
        )
