"""`lvlmscope models`: what can be traced with the installed transformers."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Final

from rich.markup import escape
from rich.table import Table

from lvlmscope.cli.console import console, print_json
from lvlmscope.models.supported_types import list_models

__all__ = ["run_models"]

_WIDE: Final = 140  # columns, from which the names of classes fit beside the notes
_STYLES = {"verified": "green", "generic": "yellow", "unsupported": "red"}


def run_models(*, as_json: bool) -> None:
    """Prints one row per model type.

    Args:
        as_json: One JSON list instead of a table.
    """
    models = list_models()
    if as_json:
        print_json([asdict(model) for model in models])
        return
    wide = console.width >= _WIDE
    left_out = "" if wide else f"class names: in a terminal of {_WIDE} columns, or with --json"
    title = f"image-text-to-text models of transformers {version('transformers')}"
    table = Table(title=title, caption=left_out or None)
    for name in ("model type", *(["class"] if wide else []), "status"):
        table.add_column(name, no_wrap=True)
    table.add_column("note")
    for model in sorted(models, key=lambda m: (list(_STYLES).index(m.status), m.model_type)):
        style = _STYLES[model.status]
        names = [model.model_type, model.model_class] if wide else [model.model_type]
        table.add_row(*names, f"[{style}]{model.status}[/{style}]", escape(model.note))
    console.print(table)
