"""`lvlmscope sweep`: signals of many images into a folder of Parquet files."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from lvlmscope.cli.completion import complete_intervention
from lvlmscope.cli.library_progress import quieten
from lvlmscope.cli.loaded_files import Load, load_files
from lvlmscope.cli.option_limits import MAX_SEED
from lvlmscope.cli.progress import stages
from lvlmscope.errors import EvaluationError, UnsupportedOptionError, message

__all__ = ["sweep"]

_LOOKED_AT: Final = 4096  # characters


def sweep(  # noqa: PLR0917 - typer reads options from parameters
    data: Annotated[
        str, typer.Argument(help="A folder of images, a data set's file or folder, tiny-chair, or tiny-pope.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the tables; an unfinished one is gone on with."),
    ],
    model: Annotated[str, typer.Option(help="'tiny', a folder, or a hub id.")] = "tiny",
    signals: Annotated[
        str | None, typer.Option(help="Names that lvlmscope signals lists, separated by commas; all that need no more.")
    ] = None,
    kind: Annotated[
        Literal["images", "chair", "pope", "mme", "amber"],
        typer.Option("--format", help="images: a folder of them. Others: DATA as for lvlmscope eval."),
    ] = "images",
    images: Annotated[Path | None, typer.Option(help="Folder of the images of a data set.")] = None,
    intervention: Annotated[
        list[str] | None,
        typer.Option(help="Such as dleaf:gamma=0.5; several act in order.", autocompletion=complete_intervention),
    ] = None,
    load: Load = None,
    dtype: Annotated[str, typer.Option(help="Such as bfloat16; 'auto' takes the files' own.")] = "auto",
    device_map: Annotated[str | None, typer.Option(help="Such as 'auto' to use the GPUs; without it the CPU.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="What is asked; for items with a question a template with {question}.")
    ] = None,
    tokens: Annotated[Literal["first", "mean"], typer.Option(help="Which tokens of a word are read.")] = "first",
    batch_size: Annotated[int, typer.Option(min=1, help="Items in one generate; halved where memory is short.")] = 8,
    part_size: Annotated[int, typer.Option(min=4, max=64, help="Items of one part.")] = 16,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length allowed to each answer; the data set's own when left out.")
    ] = None,
    sample: Annotated[bool, typer.Option(help="Sample the answers; each item has noise of its own.")] = False,
    temperature: Annotated[float | None, typer.Option(min=0.01, help="Of sampling.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of sampling.")] = 0,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="ray: a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="ray: actors, each with a model.")] = 1,
    worker_cpus: Annotated[float, typer.Option(min=0.01, help="ray: CPUs of each.")] = 1.0,
    worker_gpus: Annotated[float, typer.Option(min=0, help="ray: GPUs of each.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Answers to many images, word by word with their signals, as Parquet; a killed sweep goes on where it ended."""
    with stages(shown=not as_json):
        quieten()
        load_files(load)
        from lvlmscope.cli.intervention_syntax import parse_intervention
        from lvlmscope.sweeps import sweep as run_sweep

    if load and engine == "ray":
        got, fix = "--load, which Ray's workers do not read", "install a package with entry points on every worker"
        raise UnsupportedOptionError(message(got, "signals and interventions of packages", fix, task="sweep on Ray"))

    loading = {"dtype": dtype} | ({} if device_map is None else {"device_map": device_map})
    sampling: dict[str, Any] = {"do_sample": sample} | ({} if temperature is None else {"temperature": temperature})
    found = run_sweep(
        model,
        _dataset(data, kind, images),
        out,
        signals=None if signals is None else [name.strip() for name in signals.split(",")],
        interventions=[parse_intervention(each) for each in intervention or []],
        tokens=tokens,
        prompt=prompt,
        batch_size=batch_size,
        part_size=part_size,
        max_new_tokens=max_new_tokens,
        seed=seed,
        engine=engine,
        workers=workers,
        worker_cpus=worker_cpus,
        worker_gpus=worker_gpus,
        loading=loading,
        **sampling,
    )
    facts = {"folder": str(out), "parts": found.num_parts, "missing": list(found.missing), **found.counts()}
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        _print_facts(facts, found.num_parts, out)
    if facts["errors"] and not facts["images"]:
        got, expected = f"an error at each of {facts['errors']} items", "an answer to one item or more"
        fix = f"read the column error of {out / 'errors'}, and sweep into another folder"
        raise EvaluationError(message(got, expected, fix, task="sweep"))


def _print_facts(facts: dict[str, Any], parts: int, out: Path) -> None:
    left = f", {len(facts['missing'])} of {parts} parts left" if facts["missing"] else ""
    typer.echo(f"{facts['images']} images, {facts['words']} words, {facts['errors']} errors in {out}{left}")


def _dataset(data: str, kind: Literal["images", "chair", "pope", "mme", "amber"], images: Path | None) -> Any:
    from lvlmscope.evaluation.datasets import BUNDLED, read_dataset
    from lvlmscope.sweeps import read_image_folder

    if data in BUNDLED:
        return data
    if kind != "images":
        return read_dataset(kind, data, images)
    if Path(data).is_file() or images is not None:
        got = f"{data}{', a file,' if Path(data).is_file() else ' with --images'} without --format"
        expected = "a folder of images alone, or a data set with --format chair, pope, mme or amber"
        likely = _likely_format(Path(data))
        fix = f"add --format {likely}, which it looks like" if likely else "add its --format"
        raise EvaluationError(message(got, expected, fix, task="sweep"))
    return read_image_folder(data)


def _likely_format(path: Path) -> str:
    """The format that a data set's name or first characters indicate; empty where none does."""
    if path.is_dir():
        return "amber" if any(path.glob("**/query_all.json")) else ""
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(_LOOKED_AT)
    if path.name.startswith("query"):
        return "amber"
    if path.name.startswith(("instances", "captions")) or any(f'"{key}"' in start for key in ("images", "objects")):
        return "chair"
    return "pope" if '"label"' in start else ""
