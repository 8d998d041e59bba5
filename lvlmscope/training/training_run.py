"""One training run on Hugging Face `Trainer`: only the cell learns, every checkpoint is small and can be resumed."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lvlmscope.errors import ModelInputError, TrainingDataError, UnsupportedOptionError, message, task
from lvlmscope.interventions.depth_cell import CellConfig, DepthCell
from lvlmscope.models.decoder_shape import require_one_stream
from lvlmscope.models.loaded_model import LoadedModel, unwrap
from lvlmscope.models.padded_batches import padding_reason
from lvlmscope.traces.atomic_write import made_folder, whole_file
from lvlmscope.training.cell_learner import CellLearner
from lvlmscope.training.checkpoints import last_whole_checkpoint
from lvlmscope.training.collation import Collator
from lvlmscope.training.llava_instruct import Record, split_records
from lvlmscope.training.options import TrainingOptions

__all__ = ["TrainingResult", "train_cell"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingResult:
    """What a run gave.

    Attributes:
        cell: The trained cell, float32 on the CPU; also in the output folder.
        history: What was logged: `step` with `loss` and `gates` (mean of each gate in each layer), or with `eval_loss`.
        records: Numbers of training and validation records.
    """

    cell: DepthCell
    history: list[dict[str, Any]]
    records: tuple[int, int]


def train_cell(
    model: LoadedModel,
    records: Sequence[Record],
    options: TrainingOptions,
    *,
    cell: DepthCell | CellConfig | None = None,
) -> TrainingResult:
    """Train a cell for a model, which stays as it is.

    Args:
        model: The model with its processor; its weights are frozen.
        records: Images with conversations.
        options: Settings of the run.
        cell: A cell to go on from or to begin with, or the options of a new one near identity; None for a whole-matrix
            DG-DPU.

    Returns:
        The cell and the curve; both are written to ``options.output`` as well.

    Raises:
        UnsupportedOptionError: The extra ``train`` is not installed.
        CellError: A cell of another hidden size than the model's, or a run to go on with whose checkpoints are all
            damaged.
        TrainingDataError: Nothing to train on, or a processor without a chat template.
        ModelInputError: Batches of more than one record for a model to which padding gives other logits.
    """
    _require_training(model)
    _refuse_padding(model, options)
    start = last_whole_checkpoint(options.output) if options.resume else None
    learner = _learner(model, cell, options.seed)
    training, held_out = split_records(records, options.validation, options.seed)
    with made_folder(options.output):  # a run that fails before its first checkpoint leaves none
        trainer = _trainer(learner, training, held_out, model.processor, options)
        learner.backbone.to(trainer.args.device)
        with learner.attached(gradient_checkpointing=options.gradient_checkpointing):
            trainer.train(resume_from_checkpoint=None if start is None else str(start))
            if held_out:
                trainer.evaluate()
        trained = learner.cell.cpu().requires_grad_(False)
        result = TrainingResult(cell=trained, history=trainer.state.log_history, records=(len(training), len(held_out)))
        if trainer.is_world_process_zero():
            _write(result, model, options)
    return result


@task("train a cell")
def _require_training(model: LoadedModel) -> None:
    if importlib.util.find_spec("accelerate") is None:
        got, expected = "no accelerate", "an installation with the extra train"
        raise UnsupportedOptionError(message(got, expected, "pip install 'lvlmscope[train]'"))
    if not getattr(model.processor, "chat_template", None):
        got, expected = f"{type(model.processor).__name__} without a chat template", "a chat model's processor"
        raise TrainingDataError(message(got, expected, "set processor.chat_template"))


@task("train a cell")
def _refuse_padding(model: LoadedModel, options: TrainingOptions) -> None:
    bare = unwrap(model)
    if options.batch > 1 and (reason := padding_reason(bare, model.family)):
        got = f"batches of {options.batch}, which are padded, for {type(bare).__name__}, {reason}"
        fix = f"set batch=1, accumulate={options.batch * options.accumulate}"
        raise ModelInputError(message(got, "one record at a time", fix))


def _learner(model: LoadedModel, cell: DepthCell | CellConfig | None, seed: int) -> CellLearner:
    from lvlmscope.errors import CellError

    require_one_stream(model.model, model.family, task="train a cell")
    size = model.family.text_config(model.model).hidden_size
    made = cell if isinstance(cell, DepthCell) else DepthCell(cell or CellConfig(hidden_size=size), seed=seed)
    if made.config.hidden_size != size:
        got = f"a cell of hidden size {made.config.hidden_size} for a model of hidden size {size}"
        raise CellError(message(got, "equal sizes", "leave the cell out for a new one", task="train a cell"))
    return CellLearner(made.float().requires_grad_(True), model.model, model.family)


def _trainer(
    learner: CellLearner,
    training: Sequence[Record],
    held_out: Sequence[Record],
    processor: Any,
    options: TrainingOptions,
) -> Any:
    from lvlmscope.training.cell_trainer import CellTrainer, arguments

    return CellTrainer(
        model=learner,
        args=arguments(options, validates=bool(held_out)),
        train_dataset=list(training),
        eval_dataset=list(held_out) or None,
        data_collator=Collator(processor, max_tokens=options.max_tokens, emphasis=options.emphasis),
    )


def _write(result: TrainingResult, model: LoadedModel, options: TrainingOptions) -> None:
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    notes = {"model": model.name, "family": model.family.name, "records": result.records[0], "torch": torch.__version__}
    result.cell.save(options.output, notes=notes)
    summary: dict[str, Any] = {"model": model.name, "cell": asdict(result.cell.config), "options": settings}
    summary |= {"records": result.records, "history": result.history}
    with whole_file(options.output / "training.json") as temporary:
        temporary.write_text(json.dumps(summary))
