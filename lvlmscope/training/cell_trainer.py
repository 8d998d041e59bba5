"""Hugging Face `Trainer` for a cell: its gates in the log, and a loadable cell in every checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from lvlmscope.interface.progress import bars_shown
from lvlmscope.training.cell_learner import CellLearner
from lvlmscope.training.checkpoints import write_digests
from lvlmscope.training.options import TrainingOptions

__all__ = ["CellTrainer", "arguments"]


def arguments(options: TrainingOptions, *, validates: bool) -> TrainingArguments:
    """Settings in the names of transformers.

    Args:
        options: Ours.
        validates: Whether there are validation records.

    Returns:
        Theirs.
    """
    accelerated = torch.accelerator.is_available()
    return TrainingArguments(
        output_dir=str(options.output),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps,
        learning_rate=options.rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulate,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        use_cpu=not accelerated,
        eval_strategy="steps" if validates else "no",
        eval_steps=options.save_steps,
        eval_on_start=validates,
        prediction_loss_only=True,
        logging_steps=options.log_steps,
        save_steps=options.save_steps,
        save_total_limit=2,
        dataloader_num_workers=options.workers,
        dataloader_pin_memory=accelerated,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        label_names=["labels"],
        seed=options.seed,
        report_to="none",
        disable_tqdm=not bars_shown(),
    )


class CellTrainer(Trainer):
    """A trainer whose model is a `CellLearner`; the learner's gates go into the history with each loss."""

    def __init__(self, **parts: Any) -> None:
        """As `Trainer`, with keywords only.

        Args:
            **parts: Arguments of `Trainer`; the model is a `CellLearner`.
        """
        super().__init__(**parts)
        self.add_callback(_SaveCell(self.learner, self.accelerator.wait_for_everyone))

    @property
    def learner(self) -> CellLearner:
        """The model without wrappers."""
        learner = self.accelerator.unwrap_model(self.model)
        assert isinstance(learner, CellLearner)  # for the type checker: given to __init__
        return learner

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as always, with the gate means of the rows since the last entry.

        Args:
            logs: What is logged.
            start_time: When training began.
        """
        super().log(logs, start_time)
        if "loss" in logs:
            entry: dict[str, Any] = self.state.log_history[-1]
            entry["gates"] = self.learner.pop_gates()


class _SaveCell(TrainerCallback):
    """Puts `cell.json` and `cell.safetensors` into each checkpoint, and last the digests of all its files."""

    def __init__(self, learner: CellLearner, wait_for_everyone: Callable[[], None]) -> None:
        self._learner = learner
        self._wait_for_everyone = wait_for_everyone

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        del control
        self._wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            self._learner.cell.save(folder)
            write_digests(folder)
