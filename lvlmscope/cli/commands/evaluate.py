"""`lvlmscope eval`: its options; what they do is in `evaluate_data`, as models take time to import."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lvlmscope.cli.completion import complete_intervention
from lvlmscope.cli.library_progress import quieten
from lvlmscope.cli.loaded_files import Load, load_files
from lvlmscope.cli.progress import stages

__all__ = ["evaluate"]


def evaluate(  # noqa: PLR0917 - typer reads options from parameters
    what: Annotated[
        str,
        typer.Argument(
            help="chair, pope, mme or amber with DATA; tiny-chair or tiny-pope without. Left out: the report card "
            "of --model, 'tiny' or one that knows the bundled world.",
        ),
    ] = "tiny",
    data: Annotated[
        Path | None,
        typer.Argument(help="chair: COCO instances or a table; pope: questions; mme, amber: their folder."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    model: Annotated[str | None, typer.Option(help="'tiny', a folder, or a hub id; 'tiny' when left out.")] = None,
    dtype: Annotated[str, typer.Option(help="Such as bfloat16; 'auto' takes the files' own.")] = "auto",
    device_map: Annotated[str | None, typer.Option(help="Such as 'auto' to use the GPUs; without it the CPU.")] = None,
    intervention: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as dleaf:gamma=0.5; each is a row of its own, dleaf+locore is a stack. "
            "In a report card all act together.",
            autocompletion=complete_intervention,
        ),
    ] = None,
    grid: Annotated[
        list[str] | None, typer.Option(help="Such as 'dleaf:gamma=0.1|0.3|0.5': a row for each combination.")
    ] = None,
    load: Load = None,
    perturb: Annotated[
        str | None,
        typer.Option(help="Disturb the images: noise=0.1 (share of the range), blur=2 (pixels), or noise=0.1,blur=2."),
    ] = None,
    placebo: Annotated[bool, typer.Option(help="Also run edits as large at random places.")] = False,
    captions: Annotated[
        list[Path] | None,
        typer.Option(
            help="Answers to score without a model; with several files the first is compared with the others."
        ),
    ] = None,
    reference_captions: Annotated[
        Path | None, typer.Option(help="COCO's captions_*.json: what they name counts as present.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Words of the objects: coco, or a file of synonyms in CHAIR's format.")
    ] = None,
    unannotated: Annotated[
        Literal["refuse", "skip", "keep"] | None, typer.Option(help="What to do with images without objects.")
    ] = None,
    negatives: Annotated[
        Literal["random", "popular", "adversarial"] | None,
        typer.Option(help="pope: make the questions from annotations, with these absent objects."),
    ] = None,
    per_image: Annotated[
        int | None, typer.Option(min=1, help="pope: made questions of each answer for an image; 3 when left out.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(help="amber: the file of queries; query_all.json when left out.")
    ] = None,
    subtask: Annotated[list[str] | None, typer.Option(help="mme: only these subtasks.")] = None,
    parser: Annotated[
        Literal["strict", "official", "first_word"] | None, typer.Option(help="How a yes or a no is read; strict.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What is asked; for yes/no questions a template with {question}.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="Images, drawn by the seed; of bundled data, scenes of each split.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Items in one generate; 8 when left out.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length allowed to each answer; the data set's own when left out.")
    ] = None,
    resamples: Annotated[int | None, typer.Option(min=100, help="Draws of the bootstrap; 2000 when left out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws, made questions, the bootstrap and placebos.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for answers, scores and tables; none is written without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Evaluates a model on a data set, plain and with interventions, with the controls that tell what they do."""
    given: dict[str, Any] = dict(locals())
    with stages(shown=not as_json):
        quieten()
        load_files(load)
        from lvlmscope.cli.commands.evaluate_data import run_evaluation

    run_evaluation(given)
