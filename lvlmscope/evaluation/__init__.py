"""Measuring hallucination: models on data sets, with and without interventions; signals as detectors of such words."""

from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.diagnostics.perception_reasoning_heads import functional_head_share
from lvlmscope.evaluation.aggregation import aggregate
from lvlmscope.evaluation.binned_rates import rate_by_bin
from lvlmscope.evaluation.bundled_benchmark import ReportCard, report_card
from lvlmscope.evaluation.comparison import Comparison, Evaluation, Row
from lvlmscope.evaluation.datasets import (
    Dataset,
    Item,
    bundled_dataset,
    disturbed,
    make_questions,
    read_amber,
    read_answers,
    read_coco,
    read_conversations,
    read_dataset,
    read_mme,
    read_questions,
    read_table,
)
from lvlmscope.evaluation.detector_table import Detection, Detector
from lvlmscope.evaluation.hallucination_causes import hallucination_causes
from lvlmscope.evaluation.intervention_trials import Outcome, differences, mcnemar, measure
from lvlmscope.evaluation.joined_runs import compare_runs
from lvlmscope.evaluation.length_control import cut_to_mentions
from lvlmscope.evaluation.metrics.amber import (
    AmberAnswers,
    AmberDescriptions,
    amber_answers,
    amber_descriptions,
    amber_score,
)
from lvlmscope.evaluation.metrics.chair import ChairScores, chair
from lvlmscope.evaluation.metrics.coco import coco_vocabulary
from lvlmscope.evaluation.metrics.mme import MmeScores, mme
from lvlmscope.evaluation.metrics.pope import PopeScores, pope
from lvlmscope.evaluation.metrics.published_files import Amber, AmberQuery, amber_files
from lvlmscope.evaluation.metrics.synonym_files import chair_synonyms
from lvlmscope.evaluation.metrics.vocabulary import Mention, Vocabulary, vocabulary
from lvlmscope.evaluation.metrics.yes_no import Verdict, verdict
from lvlmscope.evaluation.model_evaluation import evaluate, score_answers
from lvlmscope.evaluation.paired_differences import Difference
from lvlmscope.evaluation.result_tables import markdown
from lvlmscope.evaluation.run_folder import load_run, save_run
from lvlmscope.evaluation.sample_size import SampleSize, sample_sizes
from lvlmscope.evaluation.setting_maps import setting_map
from lvlmscope.evaluation.settings_compared import setting_differences
from lvlmscope.evaluation.signal_detection import score_signals
from lvlmscope.evaluation.tuning import Tuning, tune
from lvlmscope.evaluation.word_labels import LabelledWord, label_words

__all__ = [
    "Amber",
    "AmberAnswers",
    "AmberDescriptions",
    "AmberQuery",
    "ChairScores",
    "Comparison",
    "Dataset",
    "Detection",
    "Detector",
    "Difference",
    "Evaluation",
    "Item",
    "LabelledWord",
    "Mention",
    "MmeScores",
    "Outcome",
    "PopeScores",
    "ReportCard",
    "Row",
    "SampleSize",
    "Tuning",
    "Verdict",
    "Vocabulary",
    "aggregate",
    "amber_answers",
    "amber_descriptions",
    "amber_files",
    "amber_score",
    "bundled_dataset",
    "chair",
    "chair_synonyms",
    "coco_vocabulary",
    "compare_runs",
    "cut_to_mentions",
    "differences",
    "disturbed",
    "evaluate",
    "flagged_heads",
    "functional_head_share",
    "hallucination_causes",
    "label_words",
    "load_run",
    "make_questions",
    "markdown",
    "mcnemar",
    "measure",
    "mme",
    "pope",
    "rate_by_bin",
    "read_amber",
    "read_answers",
    "read_coco",
    "read_conversations",
    "read_dataset",
    "read_mme",
    "read_questions",
    "read_table",
    "report_card",
    "sample_sizes",
    "save_run",
    "score_answers",
    "score_signals",
    "setting_differences",
    "setting_map",
    "tune",
    "verdict",
    "vocabulary",
]
