"""`lvlmscope power`: how many images an effect needs, from a run that was made."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lvlmscope.cli.progress import stages

__all__ = ["power"]


def power(
    run: Annotated[Path, typer.Argument(help="A folder that lvlmscope eval --out wrote, with an intervention.")],
    *,
    score: Annotated[str, typer.Option(help="Such as chair_i, recall or accuracy.")],
    effect: Annotated[
        float | None, typer.Option(help="Difference to be seen, in the score's unit: 0.02 is two points of 100.")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability of seeing it.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Level of the two-sided test.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of a table.")] = False,
) -> None:
    """Says how many images an effect of a given size needs, by the scatter of a run's paired answers."""
    from lvlmscope.cli.console import console, print_json
    from lvlmscope.cli.tables import print_table

    with stages(shown=not as_json) as stage:
        from lvlmscope.evaluation import load_run, sample_sizes

        stage.begin("counting images")
        found = sample_sizes(load_run(run), score, effect=effect, power=power, alpha=alpha)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    title = f"{score}: {found[0].images} images, power {power:g}, two-sided level {alpha:g}"
    heads = ["", "difference", "detectable with these images", *([] if effect is None else [f"images for {effect:g}"])]
    rows = []
    for one in found:
        unknown = "unknown: no scatter"
        detectable = unknown if one.detectable is None else f"{one.detectable:.4f}"
        needed = [] if effect is None else [unknown if one.needed is None else str(one.needed)]
        rows.append([f"{one.row} - {one.against}", f"{one.difference:+.4f}", detectable, *needed])
    print_table(console, title, heads, rows)
