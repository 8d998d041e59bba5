"""Training the cell of HalluRNN: LLaVA-Instruct data, a frozen backbone, Hugging Face `Trainer`."""

from lvlmscope.training.conversations import Collator
from lvlmscope.training.learner import CellLearner
from lvlmscope.training.options import TrainingOptions
from lvlmscope.training.records import Record, read_records
from lvlmscope.training.running import TrainingResult, train_cell
from lvlmscope.training.sceneset import write_scenes

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
