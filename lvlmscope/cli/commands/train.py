"""`lvlmscope train hallurnn` and `lvlmscope train scenes`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lvlmscope.cli.library_progress import quieten
from lvlmscope.cli.option_limits import MAX_SEED
from lvlmscope.cli.progress import stages
from lvlmscope.cli.sentences import SentenceGroup

__all__ = ["train_app"]

train_app = typer.Typer(cls=SentenceGroup, no_args_is_help=True, help="Trains what an intervention needs.")
_NEW = "Of a new cell: "


@train_app.command()
def hallurnn(  # noqa: PLR0917 - typer reads options from parameters
    data: Annotated[Path, typer.Option(help="LLaVA-Instruct JSON file.")],
    images: Annotated[Path, typer.Option(help="Folder that the records' image paths start from.")],
    output: Annotated[Path, typer.Option("--output", "--out", "-o", help="Folder for checkpoints and the cell.")],
    model: Annotated[str, typer.Option(help="'tiny', a folder, or a hub id; its weights stay as they are.")] = "tiny",
    dtype: Annotated[str, typer.Option(help="Of the frozen model: auto, bfloat16, float16 or float32.")] = "auto",
    start: Annotated[Path | None, typer.Option(help="Folder of a cell to go on from, also another model's.")] = None,
    cell: Annotated[Literal["dgdpu", "gru", "residual_gru"], typer.Option(help=_NEW + "the unit.")] = "dgdpu",
    gates: Annotated[
        Literal["dual", "constraint", "correction"], typer.Option(help=_NEW + "its gates (dgdpu).")
    ] = "dual",
    weighting: Annotated[
        Literal["confidence"] | None, typer.Option(help=_NEW + "gates weighted by their confidence (dgdpu).")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help=_NEW + "rank of its matrices; whole when left out.")] = None,
    bias: Annotated[
        float | None, typer.Option(help=_NEW + "first bias of its last gate; 6, near identity, when left out (gru: 0).")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 3.0,
    max_steps: Annotated[int, typer.Option(help="Stop after so many steps; -1 for whole epochs.")] = -1,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-5,
    batch: Annotated[int, typer.Option(help="Records of a step on each device.")] = 10,
    accumulate: Annotated[int, typer.Option(help="Batches that make one step.")] = 1,
    precision: Annotated[Literal["bf16", "fp16", "fp32"], typer.Option(help="Autocast of the forward.")] = "bf16",
    gradient_checkpointing: Annotated[bool, typer.Option(help="Recompute decoder layers: slower, less memory.")] = True,
    validation: Annotated[float, typer.Option(help="Share of the records held out for the validation loss.")] = 0.02,
    log_steps: Annotated[int, typer.Option(help="Steps between entries of loss and gates.")] = 10,
    save_steps: Annotated[int, typer.Option(help="Steps between checkpoints and validation losses.")] = 200,
    emphasis: Annotated[float, typer.Option(help="Weight of the words in a record's key emphasis, against 1.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest conversation; later turns are left out.")] = 2048,
    workers: Annotated[int, typer.Option(help="Processes that read images.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of order, split and cell.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last whole checkpoint in output.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Leave unusable records out instead of stopping.")] = False,
) -> None:
    """Trains a depth cell for HalluRNN on images with conversations; the model itself is frozen.

    Several GPUs: accelerate launch --num_processes 4 "$(command -v lvlmscope)" train hallurnn ...
    """
    with stages(shown=True):
        quieten()
    given: dict[str, Any] = {name: value for name, value in locals().items() if name in _SETTINGS}
    new = {"cell": cell, "gates": gates, "weighting": weighting, "rank": rank}
    _train(read=(data, images, skip), settings=given, model=(model, dtype), start=start, new=new, bias=bias)


@train_app.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", "--output", "-o", help="Folder for llava_instruct.json and images/.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of scenes.")] = 4000,
    split: Annotated[Literal["train", "tune"], typer.Option(help="The others are held out.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the scenes.")] = 7,
    surprising: Annotated[
        float | None, typer.Option(help="Share of scenes that lack a usual partner; as the split has it when left out.")
    ] = None,
) -> None:
    """Writes composed scenes with reference captions as LLaVA-Instruct JSON."""
    from lvlmscope.cli.console import console
    from lvlmscope.training import write_scenes

    path = write_scenes(out, n=n, split=split, seed=seed, surprising=surprising)
    console.print(f"{n} records in {path}, images in {path.parent / 'images'}", soft_wrap=True)


_OF_A_NEW_CELL = {"cell": "dgdpu", "gates": "dual"}  # defaults; of the other options None
_SETTINGS = (
    *("output", "epochs", "max_steps", "rate", "batch", "accumulate", "precision", "gradient_checkpointing"),
    *("validation", "log_steps", "save_steps", "emphasis", "max_tokens", "workers", "seed", "resume"),
)


def _train(
    *,
    read: tuple[Path, Path, bool],
    settings: dict[str, Any],
    model: tuple[str, str],
    start: Path | None,
    new: dict[str, Any],
    bias: float | None,
) -> None:
    from lvlmscope.cli.console import console
    from lvlmscope.errors import CellError, message
    from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
    from lvlmscope.training import TrainingOptions, read_records, train_cell
    from lvlmscope.verification.loading import load

    given = [f"--{name}" for name, value in (new | {"bias": bias}).items() if value != _OF_A_NEW_CELL.get(name)]
    if start and given:
        got, expected = f"--start {start} with {', '.join(given)}", "options of a new cell without --start"
        raise CellError(message(got, expected, "leave one of them out", task="train a cell"))
    options = TrainingOptions(**settings)
    data, images, skip = read
    records, left_out = read_records(data, images, skip=skip)
    loaded = load(model[0], dtype=model[1])
    config = CellConfig(hidden_size=loaded.family.text_config(loaded.model).hidden_size, **new)
    cell = DepthCell.load(start) if start else DepthCell(config, seed=options.seed, bias=bias)
    count = f"{len(records)} records" + (f", {left_out} left out" if left_out else "")
    console.print(f"{loaded.name}: {count}", soft_wrap=True)
    result = train_cell(loaded, records, options, cell=cell)
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    if losses:
        console.print(f"validation loss {losses[0]:.4f} -> {losses[-1]:.4f} nats", soft_wrap=True)
    console.print(f"the cell is in {options.output}: HalluRNN(cell={str(options.output)!r})", soft_wrap=True)
