"""Measuring hallucination: CHAIR on captions, POPE on yes/no probes, signals as detectors of hallucinated words."""

from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.evaluation.aggregation import aggregate
from lvlmscope.evaluation.bundled_benchmark import ReportCard, report_card
from lvlmscope.evaluation.detector_table import Detection, Detector
from lvlmscope.evaluation.intervention_trials import Difference, Outcome, differences, mcnemar, measure
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
from lvlmscope.evaluation.metrics.published_files import Amber, AmberQuery, PopeQuestion, amber_files, pope_questions
from lvlmscope.evaluation.metrics.synonym_files import chair_synonyms
from lvlmscope.evaluation.metrics.vocabulary import Mention, Vocabulary, mentions, vocabulary
from lvlmscope.evaluation.metrics.yes_no import Verdict, verdict
from lvlmscope.evaluation.signal_detection import score_signals
from lvlmscope.evaluation.tuning import Tuning, tune
from lvlmscope.evaluation.word_labels import LabelledWord, label_words

__all__ = [
    "Amber",
    "AmberAnswers",
    "AmberDescriptions",
    "AmberQuery",
    "ChairScores",
    "Detection",
    "Detector",
    "Difference",
    "LabelledWord",
    "Mention",
    "MmeScores",
    "Outcome",
    "PopeQuestion",
    "PopeScores",
    "ReportCard",
    "Tuning",
    "Verdict",
    "Vocabulary",
    "aggregate",
    "amber_answers",
    "amber_descriptions",
    "amber_files",
    "amber_score",
    "chair",
    "chair_synonyms",
    "coco_vocabulary",
    "differences",
    "flagged_heads",
    "label_words",
    "mcnemar",
    "measure",
    "mentions",
    "mme",
    "pope",
    "pope_questions",
    "report_card",
    "score_signals",
    "tune",
    "verdict",
    "vocabulary",
]
