"""Risks of words against a calibration, findings, and interventions configured from a trace."""

from lvlmscope.risk.calibration import Calibration, bundled_calibration
from lvlmscope.risk.calibration_run import calibrate, calibration_of
from lvlmscope.risk.diagnosis import Diagnosis, diagnose
from lvlmscope.risk.recommendations import Recommendation
from lvlmscope.risk.word_risk import OutOfRange, WordRisk

__all__ = [
    "Calibration",
    "Diagnosis",
    "OutOfRange",
    "Recommendation",
    "WordRisk",
    "bundled_calibration",
    "calibrate",
    "calibration_of",
    "diagnose",
]
