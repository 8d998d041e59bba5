"""Measuring hallucination: CHAIR on captions, POPE on yes/no probes, signals as detectors of made-up words."""

from lvlmscope.diagnostics.dleaf_flagged_heads import flagged_heads
from lvlmscope.evaluation.aggregation import aggregate
from lvlmscope.evaluation.benefit import Difference, Outcome, differences, mcnemar, measure
from lvlmscope.evaluation.bundled import ReportCard, report_card, vocabulary
from lvlmscope.evaluation.chair import ChairScores, Mention, Vocabulary, chair, mentions
from lvlmscope.evaluation.detection import detection
from lvlmscope.evaluation.detectors import Detection, Detector
from lvlmscope.evaluation.labelling import LabelledWord, label_words
from lvlmscope.evaluation.pope import PopeScores, Verdict, pope, verdict
from lvlmscope.evaluation.tuning import Tuning, tune

__all__ = [
    "ChairScores",
    "Detection",
    "Detector",
    "Difference",
    "LabelledWord",
    "Mention",
    "Outcome",
    "PopeScores",
    "ReportCard",
    "Tuning",
    "Verdict",
    "Vocabulary",
    "aggregate",
    "chair",
    "detection",
    "differences",
    "flagged_heads",
    "label_words",
    "mcnemar",
    "measure",
    "mentions",
    "pope",
    "report_card",
    "tune",
    "verdict",
    "vocabulary",
]
