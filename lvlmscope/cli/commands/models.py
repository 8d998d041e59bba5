"""`lvlmscope models`: what can be traced with the installed transformers."""

import json
from dataclasses import asdict
from importlib.metadata import version

from rich.table import Table

from lvlmscope.cli.console import console
from lvlmscope.models.supported_types import list_models

__all__ = ["run_models"]

_STYLES = {"verified": "green", "generic": "yellow", "unsupported": "red"}


def run_models(*, as_json: bool) -> None:
    """Prints one row per model type.

    Args:
        as_json: One JSON list instead of a table.
    """
    models = list_models()
    if as_json:
        console.print_json(json.dumps([asdict(model) for model in models]))
        return
    table = Table(title=f"image-text-to-text models of transformers {version('transformers')}")
    for name in ("model type", "class", "status", "note"):
        table.add_column(name, overflow="fold")
    for model in sorted(models, key=lambda m: (list(_STYLES).index(m.status), m.model_type)):
        style = _STYLES[model.status]
        table.add_row(model.model_type, model.model_class, f"[{style}]{model.status}[/{style}]", model.note)
    console.print(table)
