"""How a cell is trained: the settings of one run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvlmscope.errors import ModelInputError, message

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Settings of a run; the defaults are the paper's (arXiv 2506.17587: AdamW, 1e-5, batch 10, 3 epochs).

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
        emphasis: Weight of the tokens that a record's own key `emphasis` stresses, against 1 for the others; 1 is the
            paper's plain cross-entropy.
        max_tokens: Longest conversation; later turns are left out until it fits.
        workers: Processes that read images.
        seed: Seed of the order, the split and the cell.
        resume: Go on from the last checkpoint in `output`, if there is one.
    """

    output: Path
    epochs: float = 3.0
    max_steps: int = -1
    rate: float = 1e-5
    batch: int = 10
    accumulate: int = 1
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    validation: float = 0.02
    log_steps: int = 10
    save_steps: int = 200
    emphasis: float = 1.0
    max_tokens: int = 2048
    workers: int = 0
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ModelInputError: A setting outside its range, by name.
        """
        ranges: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs > 0, "more than 0"),
            "max_steps": (self.max_steps == -1 or self.max_steps > 0, "a number from 1, or -1"),
            "rate": (0 < self.rate < 1, "between 0 and 1"),
            "batch": (self.batch > 0, "a number from 1"),
            "accumulate": (self.accumulate > 0, "a number from 1"),
            "precision": (self.precision in {"bf16", "fp16", "fp32"}, "bf16, fp16 or fp32"),
            "validation": (0 <= self.validation < 1, "from 0, less than 1"),
            "log_steps": (self.log_steps > 0, "a number from 1"),
            "save_steps": (self.save_steps > 0, "a number from 1"),
            "emphasis": (0 < self.emphasis < float("inf"), "more than 0"),
            "max_tokens": (self.max_tokens > 0, "a number from 1"),
            "workers": (self.workers >= 0, "a number from 0"),
        }
        for name, (fits, expected) in ranges.items():
            if not fits:
                got = f"{name}={getattr(self, name)!r}"
                raise ModelInputError(message(got, expected, f"choose {name} there", task="configure training"))
