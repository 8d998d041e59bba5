"""A hook of mkdocs: the notebooks as pages of the site, from their committed outputs; nothing is run."""

import base64
import json
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOKS: Final = Path(__file__).resolve().parents[2] / "notebooks"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page, with its images, for each notebook.

    Args:
        files: Files of the site.
        config: mkdocs' settings.

    Returns:
        The same files, with those of the notebooks.
    """
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for name, content in pages_of(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def pages_of(path: Path) -> dict[str, str | bytes]:
    """A notebook as Markdown.

    Args:
        path: The notebook.

    Returns:
        Contents by file name: the page, and the images that it shows.
    """
    found: dict[str, str | bytes] = {}
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source.replace("](../docs/", "](../"))
        elif source.strip():
            parts.append(f"```python\n{source.rstrip()}\n```")
        for output in cell.get("outputs", ()):
            parts += _shown(output, f"{path.stem}_{len(found)}", found)
        if cell["cell_type"] == "markdown" and len(parts) == 1:
            parts.append(f"*The notebook `notebooks/{path.name}` of the repository, with the outputs of its last run.*")
    return found | {f"{path.stem}.md": "\n\n".join(parts) + "\n"}


def _shown(output: dict[str, Any], name: str, found: dict[str, str | bytes]) -> list[str]:
    """Markdown of an output: an image where there is one, else its text; widgets have neither."""
    data: dict[str, Any] = output.get("data", {})
    for kind, ending in _IMAGES.items():
        if kind in data:
            content = data[kind] if isinstance(data[kind], str) else "".join(data[kind])
            found[f"{name}.{ending}"] = base64.b64decode(content)
            return [f"![Output of the cell above]({name}.{ending})"]
    if "application/vnd.jupyter.widget-view+json" in data:
        return []
    text = "".join(data.get("text/plain", output.get("text", ())))
    return [f"```text\n{_COLOURS.sub('', text).rstrip()}\n```"] if text.strip() else []
