"""Data sets to evaluate on: COCO, POPE, AMBER, MME, tables of your own, and the bundled world."""

from lvlmscope.evaluation.datasets.amber import read_amber
from lvlmscope.evaluation.datasets.answer_files import read_answers
from lvlmscope.evaluation.datasets.bundled import BUNDLED, bundled_dataset
from lvlmscope.evaluation.datasets.coco import read_coco
from lvlmscope.evaluation.datasets.conversations import read_conversations
from lvlmscope.evaluation.datasets.dataset_readers import read_dataset
from lvlmscope.evaluation.datasets.disturbed_images import disturbed
from lvlmscope.evaluation.datasets.items import METRICS, Dataset, Item
from lvlmscope.evaluation.datasets.made_questions import make_questions
from lvlmscope.evaluation.datasets.mme import read_mme
from lvlmscope.evaluation.datasets.tables import read_questions, read_table

__all__ = [
    "BUNDLED",
    "METRICS",
    "Dataset",
    "Item",
    "bundled_dataset",
    "disturbed",
    "make_questions",
    "read_amber",
    "read_answers",
    "read_coco",
    "read_conversations",
    "read_dataset",
    "read_mme",
    "read_questions",
    "read_table",
]
