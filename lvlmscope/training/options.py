"""How a cell is trained: the settings of one run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from lvlmscope.errors import ModelInputError, message
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import check_fields

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Settings of a run; rate, batch and epochs are the paper's (arXiv 2506.17587), all else is ours, AdamW too.

    Attributes:
        output: Folder for checkpoints, the cell and `training.json`.
        epochs: Passes over the records.
        max_steps: Stop after this many steps; -1 for whole epochs.
        rate: Peak learning rate; warmed up over 3 % of the steps, then a cosine.
        batch: Records of a step on each device.
        accumulate: Batches that make one step.
        precision: Autocast of the forward; the cell's parameters stay float32.
        gradient_checkpointing: Recompute decoder layers in the backward pass.
        validation: Share of the records held out for the validation loss, in [0, 1).
        log_steps: Steps between two entries of loss and gates.
        save_steps: Steps between two checkpoints, and between two validation losses.
        emphasis: Weight of the tokens that a record's own key `emphasis` stresses, against 1 for the others; 1 is
            plain cross-entropy.
        max_tokens: Longest conversation; later turns are left out until it fits.
        workers: Processes that read images.
        seed: Seed of the order, the split and the cell.
        resume: Go on from the last whole checkpoint in `output`, if there is one; damaged ones are warned of.
    """

    output: Path
    epochs: Annotated[float, Range(gt=0)] = 3.0
    max_steps: Annotated[int, Range(ge=-1)] = -1
    rate: Annotated[float, Range(gt=0, lt=1)] = 1e-5
    batch: Annotated[int, Range(ge=1)] = 10
    accumulate: Annotated[int, Range(ge=1)] = 1
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    validation: Annotated[float, Range(ge=0, lt=1)] = 0.02
    log_steps: Annotated[int, Range(ge=1)] = 10
    save_steps: Annotated[int, Range(ge=1)] = 200
    emphasis: Annotated[float, Range(gt=0)] = 1.0
    max_tokens: Annotated[int, Range(ge=1)] = 2048
    workers: Annotated[int, Range(ge=0)] = 0
    seed: Annotated[int, Range(ge=0, lt=2**32)] = 0
    resume: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ModelInputError: A setting outside its range, by name.
        """
        check_fields(self, "configure training")
        if self.max_steps == 0:
            expected = "a number from 1, or -1 for whole epochs"
            raise ModelInputError(message("max_steps=0", expected, "change max_steps", task="configure training"))
