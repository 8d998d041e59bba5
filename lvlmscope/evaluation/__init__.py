"""Measuring hallucination: CHAIR on captions, POPE on yes/no probes, and the bundled model's own report card."""

from lvlmscope.evaluation.bundled import ReportCard, report_card, vocabulary
from lvlmscope.evaluation.chair import ChairScores, Mention, Vocabulary, chair, mentions
from lvlmscope.evaluation.pope import PopeScores, Verdict, pope, verdict

__all__ = [
    "ChairScores",
    "Mention",
    "PopeScores",
    "ReportCard",
    "Verdict",
    "Vocabulary",
    "chair",
    "mentions",
    "pope",
    "report_card",
    "verdict",
    "vocabulary",
]
