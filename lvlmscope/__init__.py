"""See why a vision-language model said something that is not in the image, and switch on an intervention."""

import difflib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` serves, for type checkers and editors, name by name
    from lvlmscope import attribution as attribution
    from lvlmscope import causal as causal
    from lvlmscope import diagnostics as diagnostics
    from lvlmscope import errors as errors
    from lvlmscope import evaluation as evaluation
    from lvlmscope import explorer as explorer
    from lvlmscope import interventions as interventions
    from lvlmscope import lenses as lenses
    from lvlmscope import plot as plot
    from lvlmscope import risk as risk
    from lvlmscope import sweeps as sweeps
    from lvlmscope import tiny as tiny
    from lvlmscope import training as training
    from lvlmscope.attention.attention_rows import AttentionRows as AttentionRows
    from lvlmscope.attention.layer_bands import resolve_layers as resolve_layers
    from lvlmscope.attribution import infidelity as infidelity
    from lvlmscope.attribution import integrated_gradients as integrated_gradients
    from lvlmscope.attribution import max_sensitivity as max_sensitivity
    from lvlmscope.attribution import occlusion as occlusion
    from lvlmscope.capture.size_estimate import estimate as estimate
    from lvlmscope.capture.span_labels import label_spans as label_spans
    from lvlmscope.capture.trace_many_examples import trace_many as trace_many
    from lvlmscope.capture.trace_one import trace as trace
    from lvlmscope.capture.trace_one import trace_inputs as trace_inputs
    from lvlmscope.causal import knockout as knockout
    from lvlmscope.causal import patch as patch
    from lvlmscope.diagnostics import anchor_correlation as anchor_correlation
    from lvlmscope.diagnostics import attention_sinks as attention_sinks
    from lvlmscope.diagnostics import confidence as confidence
    from lvlmscope.diagnostics import functional_heads as functional_heads
    from lvlmscope.diagnostics import image_attention_focus as image_attention_focus
    from lvlmscope.diagnostics import layer_correlation as layer_correlation
    from lvlmscope.diagnostics import layer_image_entropy as layer_image_entropy
    from lvlmscope.diagnostics import planted_trace as planted_trace
    from lvlmscope.diagnostics import representation_drift as representation_drift
    from lvlmscope.diagnostics import saliency as saliency
    from lvlmscope.diagnostics import saliency_to_answer as saliency_to_answer
    from lvlmscope.diagnostics import saliency_to_image as saliency_to_image
    from lvlmscope.diagnostics import saliency_to_previous as saliency_to_previous
    from lvlmscope.diagnostics import sensitive_head_entropy as sensitive_head_entropy
    from lvlmscope.diagnostics import sensitive_heads as sensitive_heads
    from lvlmscope.diagnostics import uniform_baseline as uniform_baseline
    from lvlmscope.diagnostics import visual_attention_ratio as visual_attention_ratio
    from lvlmscope.errors import LvlmscopeError as LvlmscopeError
    from lvlmscope.evaluation import aggregate as aggregate
    from lvlmscope.evaluation import evaluate as evaluate
    from lvlmscope.evaluation import tune as tune
    from lvlmscope.evaluation.signal_detection import score_signals as score_signals
    from lvlmscope.evaluation.signal_registry import WordSignal as WordSignal
    from lvlmscope.evaluation.signal_registry import list_signals as list_signals
    from lvlmscope.evaluation.signal_registry import signal as signal
    from lvlmscope.explorer import explore as explore
    from lvlmscope.explorer import report as report
    from lvlmscope.interventions import ADHH as ADHH
    from lvlmscope.interventions import AGLA as AGLA
    from lvlmscope.interventions import CLVA as CLVA
    from lvlmscope.interventions import DLEAF as DLEAF
    from lvlmscope.interventions import ICD as ICD
    from lvlmscope.interventions import M3ID as M3ID
    from lvlmscope.interventions import OPERA as OPERA
    from lvlmscope.interventions import PAI as PAI
    from lvlmscope.interventions import SGRS as SGRS
    from lvlmscope.interventions import SPIN as SPIN
    from lvlmscope.interventions import VCD as VCD
    from lvlmscope.interventions import DeCo as DeCo
    from lvlmscope.interventions import Directions as Directions
    from lvlmscope.interventions import DoLa as DoLa
    from lvlmscope.interventions import HalluRNN as HalluRNN
    from lvlmscope.interventions import HeadRescaling as HeadRescaling
    from lvlmscope.interventions import LocoRE as LocoRE
    from lvlmscope.interventions import Placebo as Placebo
    from lvlmscope.interventions import Steering as Steering
    from lvlmscope.interventions import intervention as intervention
    from lvlmscope.interventions import list_interventions as list_interventions
    from lvlmscope.interventions import load_interventions as load_interventions
    from lvlmscope.interventions import save_interventions as save_interventions
    from lvlmscope.lenses import internal_confidence as internal_confidence
    from lvlmscope.lenses import logit_lens as logit_lens
    from lvlmscope.lenses import patch_lens as patch_lens
    from lvlmscope.models.loaded_model import LoadedModel as LoadedModel
    from lvlmscope.models.supported_types import list_models as list_models
    from lvlmscope.risk import Calibration as Calibration
    from lvlmscope.risk import Diagnosis as Diagnosis
    from lvlmscope.risk import calibrate as calibrate
    from lvlmscope.risk import diagnose as diagnose
    from lvlmscope.runtime.attachment import attach as attach
    from lvlmscope.runtime.attachment import attached as attached
    from lvlmscope.runtime.attachment import detach as detach
    from lvlmscope.runtime.attachment import intervene as intervene
    from lvlmscope.runtime.intervention_config import InterventionConfig as InterventionConfig
    from lvlmscope.runtime.protocol import Intervention as Intervention
    from lvlmscope.runtime.protocol import ModelInfo as ModelInfo
    from lvlmscope.runtime.protocol import Session as Session
    from lvlmscope.sweeps import Sweep as Sweep
    from lvlmscope.sweeps import load_sweep as load_sweep
    from lvlmscope.sweeps import sweep as sweep
    from lvlmscope.traces.intervention_effect import effect as effect
    from lvlmscope.traces.labelled_arrays import labelled_array as labelled_array
    from lvlmscope.traces.token_layout import Cell as Cell
    from lvlmscope.traces.token_layout import ImageLayout as ImageLayout
    from lvlmscope.traces.token_layout import Layout as Layout
    from lvlmscope.traces.trace import Trace as Trace
    from lvlmscope.traces.trace_file import read_attention as read_attention
    from lvlmscope.verification.loading import load as load
    from lvlmscope.verification.self_check import check as check

__version__ = "0.1.0"

# Names of submodules and of what others define, interventions and signals too (lv.DLEAF, lv.saliency): served on first
# use, so that the import costs nothing. A name stands here, above and in `__all__`; tests/test_typed_api.py compares.
_MODULES = (
    "attribution",
    "causal",
    "diagnostics",
    "errors",
    "evaluation",
    "explorer",
    "lenses",
    "risk",
    "interventions",
    "plot",
    "tiny",
    "sweeps",
    "training",
)
_HOMES = {
    "attach": "lvlmscope.runtime.attachment",
    "attached": "lvlmscope.runtime.attachment",
    "detach": "lvlmscope.runtime.attachment",
    "intervene": "lvlmscope.runtime.attachment",
    "infidelity": "lvlmscope.attribution",
    "integrated_gradients": "lvlmscope.attribution",
    "occlusion": "lvlmscope.attribution",
    "max_sensitivity": "lvlmscope.attribution",
    "knockout": "lvlmscope.causal",
    "patch": "lvlmscope.causal",
    "trace_many": "lvlmscope.capture.trace_many_examples",
    "list_models": "lvlmscope.models.supported_types",
    "check": "lvlmscope.verification.self_check",
    "effect": "lvlmscope.traces.intervention_effect",
    "resolve_layers": "lvlmscope.attention.layer_bands",
    "Calibration": "lvlmscope.risk",
    "Diagnosis": "lvlmscope.risk",
    "calibrate": "lvlmscope.risk",
    "diagnose": "lvlmscope.risk",
    "anchor_correlation": "lvlmscope.diagnostics",
    "attention_sinks": "lvlmscope.diagnostics",
    "confidence": "lvlmscope.diagnostics",
    "functional_heads": "lvlmscope.diagnostics",
    "image_attention_focus": "lvlmscope.diagnostics",
    "internal_confidence": "lvlmscope.lenses",
    "layer_correlation": "lvlmscope.diagnostics",
    "layer_image_entropy": "lvlmscope.diagnostics",
    "logit_lens": "lvlmscope.lenses",
    "patch_lens": "lvlmscope.lenses",
    "planted_trace": "lvlmscope.diagnostics",
    "representation_drift": "lvlmscope.diagnostics",
    "saliency": "lvlmscope.diagnostics",
    "saliency_to_answer": "lvlmscope.diagnostics",
    "saliency_to_image": "lvlmscope.diagnostics",
    "saliency_to_previous": "lvlmscope.diagnostics",
    "sensitive_head_entropy": "lvlmscope.diagnostics",
    "sensitive_heads": "lvlmscope.diagnostics",
    "uniform_baseline": "lvlmscope.diagnostics",
    "visual_attention_ratio": "lvlmscope.diagnostics",
    "LvlmscopeError": "lvlmscope.errors",
    "aggregate": "lvlmscope.evaluation",
    "evaluate": "lvlmscope.evaluation",
    "score_signals": "lvlmscope.evaluation.signal_detection",
    "WordSignal": "lvlmscope.evaluation.signal_registry",
    "list_signals": "lvlmscope.evaluation.signal_registry",
    "signal": "lvlmscope.evaluation.signal_registry",
    "tune": "lvlmscope.evaluation",
    "CLVA": "lvlmscope.interventions",
    "DLEAF": "lvlmscope.interventions",
    "SGRS": "lvlmscope.interventions",
    "HalluRNN": "lvlmscope.interventions",
    "HeadRescaling": "lvlmscope.interventions",
    "LocoRE": "lvlmscope.interventions",
    "VCD": "lvlmscope.interventions",
    "Steering": "lvlmscope.interventions",
    "Directions": "lvlmscope.interventions",
    "ADHH": "lvlmscope.interventions",
    "SPIN": "lvlmscope.interventions",
    "PAI": "lvlmscope.interventions",
    "M3ID": "lvlmscope.interventions",
    "OPERA": "lvlmscope.interventions",
    "ICD": "lvlmscope.interventions",
    "DoLa": "lvlmscope.interventions",
    "DeCo": "lvlmscope.interventions",
    "AGLA": "lvlmscope.interventions",
    "Placebo": "lvlmscope.interventions",
    "intervention": "lvlmscope.interventions",
    "load_interventions": "lvlmscope.interventions",
    "list_interventions": "lvlmscope.interventions",
    "save_interventions": "lvlmscope.interventions",
    "labelled_array": "lvlmscope.traces.labelled_arrays",
    "Cell": "lvlmscope.traces.token_layout",
    "ImageLayout": "lvlmscope.traces.token_layout",
    "Layout": "lvlmscope.traces.token_layout",
    "LoadedModel": "lvlmscope.models.loaded_model",
    "load": "lvlmscope.verification.loading",
    "estimate": "lvlmscope.capture.size_estimate",
    "Trace": "lvlmscope.traces.trace",
    "AttentionRows": "lvlmscope.attention.attention_rows",
    "Intervention": "lvlmscope.runtime.protocol",
    "InterventionConfig": "lvlmscope.runtime.intervention_config",
    "Session": "lvlmscope.runtime.protocol",
    "ModelInfo": "lvlmscope.runtime.protocol",
    "read_attention": "lvlmscope.traces.trace_file",
    "Sweep": "lvlmscope.sweeps",
    "load_sweep": "lvlmscope.sweeps",
    "sweep": "lvlmscope.sweeps",
    "label_spans": "lvlmscope.capture.span_labels",
    "trace": "lvlmscope.capture.trace_one",
    "trace_inputs": "lvlmscope.capture.trace_one",
    "explore": "lvlmscope.explorer",
    "report": "lvlmscope.explorer",
}

__all__ = ["__version__", "load_trace"]
__all__ += ["AttentionRows", "Calibration", "Cell", "Diagnosis", "ImageLayout", "Intervention", "Layout"]
__all__ += [
    "LoadedModel",
    "LvlmscopeError",
    "ModelInfo",
    "Session",
    "Trace",
    "aggregate",
    "attach",
    "attached",
    "calibrate",
    "check",
]
__all__ += ["detach", "diagnose", "effect", "estimate", "evaluate", "explore", "infidelity", "integrated_gradients"]
__all__ += ["knockout", "patch", "score_signals", "tune"]
__all__ += ["intervene", "list_models", "load", "occlusion", "read_attention", "report", "resolve_layers"]
__all__ += ["Sweep", "label_spans", "load_sweep", "max_sensitivity", "sweep", "trace", "trace_inputs", "trace_many"]
__all__ += [
    "CLVA",
    "DLEAF",
    "SGRS",
    "VCD",
    "HalluRNN",
    "HeadRescaling",
    "LocoRE",
    "list_interventions",
    "load_interventions",
]
__all__ += ["ADHH", "AGLA", "ICD", "M3ID", "OPERA", "PAI", "SPIN", "DeCo", "Directions", "DoLa", "Steering"]
__all__ += ["InterventionConfig", "Placebo", "intervention", "save_interventions"]
__all__ += ["WordSignal", "labelled_array", "list_signals", "signal"]
__all__ += ["anchor_correlation", "attention_sinks", "confidence", "functional_heads", "image_attention_focus"]
__all__ += ["internal_confidence", "layer_correlation", "layer_image_entropy", "logit_lens", "patch_lens"]
__all__ += ["planted_trace"]
__all__ += ["representation_drift", "saliency", "saliency_to_answer", "saliency_to_image", "saliency_to_previous"]
__all__ += ["sensitive_head_entropy", "sensitive_heads", "uniform_baseline", "visual_attention_ratio"]
__all__ += ["attribution", "causal", "diagnostics", "errors", "evaluation", "explorer", "interventions", "lenses"]
__all__ += ["plot", "risk", "sweeps", "tiny", "training"]


def load_trace(path: str | os.PathLike[str]) -> "Trace":
    """Read a trace that ``Trace.save`` wrote.

    Args:
        path: File to read.

    Returns:
        The ``Trace``.

    Raises:
        TraceFileError: No such file, not a trace, cut short, or of a newer format.
    """
    from lvlmscope.traces.trace import Trace

    return Trace.load(path)


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # a type checker that saw it would take any name for a name of lvlmscope

    def __getattr__(name: str) -> Any:
        from lvlmscope.models.torchvision_check import blame_torchvision

        if name in _HOMES:
            with blame_torchvision():
                return getattr(importlib.import_module(_HOMES[name]), name)
        if name in _MODULES:
            with blame_torchvision():
                return importlib.import_module(f"lvlmscope.{name}")
        close = difflib.get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"module 'lvlmscope' has no attribute {name!r}{hint}")


if not (Path(__file__).parent / "diagnostics").is_dir():
    # A checkout whose symbolic links did not survive (zip download, Windows): the folders lie beside the package.
    __path__.append(str(Path(__file__).parent.parent))
