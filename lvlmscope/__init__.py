"""See why a vision-language model said something that is not in the picture, and switch on a remedy."""

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# Served on first use, so that the import costs nothing and the top-level folders may come after it.
_HOMES = {
    "Intervention": "lvlmscope.sessions",
    "LoadedModel": "lvlmscope.loading",
    "Session": "lvlmscope.sessions",
    "Site": "lvlmscope.sessions",
    "aggregate": "lvlmscope.evaluation",
    "attach": "lvlmscope.attaching",
    "calibrate": "lvlmscope.diagnosis",
    "check": "lvlmscope.checking",
    "Calibration": "lvlmscope.diagnosis",
    "Diagnosis": "lvlmscope.diagnosis",
    "detection": "lvlmscope.evaluation",
    "diagnose": "lvlmscope.diagnosis",
    "effect": "lvlmscope.comparing",
    "explore": "lvlmscope.views",
    "estimate": "lvlmscope.memory",
    "infidelity": "lvlmscope.attribution",
    "integrated_gradients": "lvlmscope.attribution",
    "intervene": "lvlmscope.attaching",
    "list_models": "lvlmscope.catalogue",
    "load": "lvlmscope.loading",
    "occlusion": "lvlmscope.attribution",
    "read_attention": "lvlmscope.storing",
    "report": "lvlmscope.views",
    "resolve_layers": "lvlmscope.depth",
    "sensitivity": "lvlmscope.attribution",
    "trace": "lvlmscope.tracing",
    "trace_many": "lvlmscope.batching",
    "tune": "lvlmscope.evaluation",
    "AttentionRows": "lvlmscope.rows",
    "Cell": "lvlmscope.layout",
    "ImageLayout": "lvlmscope.layout",
    "Layout": "lvlmscope.layout",
    "LvlmscopeError": "lvlmscope.errors",
    "Trace": "lvlmscope.record",
}
_MODULES = (
    "attribution",
    "diagnosis",
    "diagnostics",
    "errors",
    "evaluation",
    "families",
    "interventions",
    "plot",
    "tiny",
    "training",
    "views",
)

# Remedies and signals are offered at the top under their own names: lv.DLEAF, lv.saliency
_FOLDERS = ("lvlmscope.interventions", "lvlmscope.diagnostics")

__all__ = ["__version__", "load_trace", *_HOMES, *_MODULES]  # noqa: PLE0604


def load_trace(path: str) -> Any:
    """Read a trace that ``Trace.save`` wrote.

    Args:
        path: File to read.

    Returns:
        The ``Trace``.

    Raises:
        TraceFileError: No such file, not a trace, cut short, or of a newer format.
    """
    from lvlmscope.record import Trace

    return Trace.load(path)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"lvlmscope.{name}")
    for package in _FOLDERS:
        module = importlib.import_module(package)
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module 'lvlmscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    offered = [name for package in _FOLDERS for name in importlib.import_module(package).__all__]
    return sorted({*__all__, *offered})


if not (Path(__file__).parent / "diagnostics").is_dir():
    # A checkout whose symbolic links did not survive (zip download, Windows): the folders lie beside the package.
    __path__.append(str(Path(__file__).parent.parent))
