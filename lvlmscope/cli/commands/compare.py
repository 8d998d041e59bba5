"""`lvlmscope compare`: several runs on the same items as one table."""

from pathlib import Path
from typing import Annotated

import typer

from lvlmscope.cli.progress import stages

__all__ = ["compare"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders that lvlmscope eval --out wrote, two or more.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the table; none is written without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Puts runs on the same items into one table, with paired intervals."""
    with stages(shown=not as_json):
        from lvlmscope.cli.commands.evaluate_data import run_comparison

    run_comparison(runs, out, seed=seed, as_json_text=as_json)
