"""Training the cell of HalluRNN: LLaVA-Instruct data, a frozen backbone, Hugging Face `Trainer`."""

from lvlmscope.training.cell_learner import CellLearner
from lvlmscope.training.collation import Collator
from lvlmscope.training.llava_instruct import Record, read_records
from lvlmscope.training.options import TrainingOptions
from lvlmscope.training.scene_dataset import write_scenes
from lvlmscope.training.training_run import TrainingResult, train_cell

__all__ = [
    "CellLearner",
    "Collator",
    "Record",
    "TrainingOptions",
    "TrainingResult",
    "read_records",
    "train_cell",
    "write_scenes",
]
