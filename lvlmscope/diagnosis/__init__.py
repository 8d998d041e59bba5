"""From a trace to what can be done: risks of words against a calibration, findings, and remedies configured from it."""

from lvlmscope.diagnosis.calibrating import calibrate, calibration_of
from lvlmscope.diagnosis.calibration import Calibration, bundled_calibration
from lvlmscope.diagnosis.diagnosing import Diagnosis, diagnose
from lvlmscope.diagnosis.proposing import Proposal
from lvlmscope.diagnosis.risks import Raised, WordRisk

__all__ = [
    "Calibration",
    "Diagnosis",
    "Proposal",
    "Raised",
    "WordRisk",
    "bundled_calibration",
    "calibrate",
    "calibration_of",
    "diagnose",
]
