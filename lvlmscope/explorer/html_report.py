"""``report``: the explorer, its data and its image as one HTML file that fetches nothing."""

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import OutputError, message, task
from lvlmscope.explorer.document import Marks, describe_document
from lvlmscope.explorer.map_budget import kept_maps
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace

__all__ = ["page", "report"]

_LIMIT: Final = 7_600_000  # bytes of a page, as far as joining neighbouring layers allows
_START: Final = "\nstart(document);\n"


@checked
def report(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    compare: Trace | None = None,
    title: str = "Attention on the image, word by word",
    hallucinated: Marks = (),
    grounded: Marks = (),
    diagnosis: Diagnosis | bool = True,
    model: Any = None,
) -> Path:
    """Writes an explorer of a trace as one HTML file, complete or not at all.

    Maps are rounded to 254 levels of their own maximum, and only as many single heads are kept as fit into some 8 MB;
    the page says which. It opens without a server or a network.

    Args:
        path: File to write; an existing one is replaced.
        compare: A second trace of the same prompt, such as with an intervention on.
        title: Heading.
        hallucinated: Words of the answer to mark as hallucinated, as `plot.timeline` takes them; or a function that
            gives them for each trace.
        grounded: Words to mark as grounded, likewise.
        diagnosis: The trace's, such as with a calibration of your own; True diagnoses it, False leaves that out.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too, in one more
            forward each. On the bundled model most of the evidence is there.

    Returns:
        The path.

    Raises:
        ModelInputError: The traces are of different prompts or images, or a mark lies outside the answer.
        ShapeError: The traces have different layers or heads.
        OutputError: The file cannot be written.
    """
    with task("write a report"):
        target = path_of(path, OutputError)
    marks = {"hallucinated": hallucinated, "grounded": grounded}
    text = page(trace, compare=compare, title=title, **marks, diagnosis=diagnosis, model=model)
    try:
        with whole_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        got, expected = error.strerror or str(error), "a file in a folder that exists and can be written to"
        raise OutputError(message(got, expected, "choose another path", task=f"write a report to {target}")) from error
    return target


@sharing_rows()
def page(
    trace: Trace,
    *,
    compare: Trace | None = None,
    title: str = "",
    hallucinated: Marks = (),
    grounded: Marks = (),
    diagnosis: Diagnosis | bool = True,
    model: Any = None,
) -> str:
    """The text of the HTML file.

    Args:
        compare: A second one of the same prompt.
        title: Heading.
        hallucinated: Words to mark as hallucinated.
        grounded: Words to mark as grounded.
        diagnosis: As in `report`.
        model: As in `report`.

    Returns:
        A document with a policy that forbids every request.
    """
    document, word_maps = describe_document(
        trace, compare, hallucinated=hallucinated, grounded=grounded, diagnosis=diagnosis, model=model
    )
    images = sum(len(panel["image"]) for side in document["sides"] for panel in side["panels"])
    room = max((_LIMIT - images - 200_000) // len(word_maps), 100_000)
    document["maps"] = [kept_maps(each, room=room) for each in word_maps]
    script = _source("explorer.js") + _START
    style = _source("explorer.css")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" '
        f'content="no-referrer"><title>{html.escape(title)}</title><style>{style}</style></head>'
        f'<body class="lvx-page"><h1>{html.escape(title)}</h1>'
        f'<main id="explorer"><p>{html.escape(trace.prompt)}</p><p>{html.escape(trace.answer)}</p></main>'
        "<footer>Made by lvlmscope. This page loads nothing from the network.</footer>"
        f'<script type="application/json" id="data">{_json(document)}</script>'
        f'<script type="module">{script}</script></body></html>\n'
    )


def _source(name: str) -> str:
    return files("lvlmscope.explorer").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(values: Any) -> str:
    """JSON in which no text can end the script element or start a comment of HTML."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
