"""``report``: the explorer, its data and its image as one HTML file that fetches nothing."""

import base64
import hashlib
import html
import json
import os
from pathlib import Path
from typing import Any, Final

from lvlmscope.errors import OutputError, message, task
from lvlmscope.explorer.document import Maps, Marks, describe_document, with_parts
from lvlmscope.explorer.map_budget import kept_maps
from lvlmscope.explorer.page_script import page_script, page_style
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.interface.paths import path_of
from lvlmscope.risk import Diagnosis
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.traces.shared_rows import sharing_rows
from lvlmscope.traces.trace import Trace

__all__ = ["page", "report"]

_LIMIT: Final = 7_500_000  # bytes of a page, as far as joining neighbouring layers allows
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
    maps: Maps = (),
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
        maps: Maps of words that were computed beside the trace, as `occlusion` and `integrated_gradients` give them, to
            be shown as further maps; or a function that gives them for each trace.
        model: The model that made the traces: their diagnoses then read what its image tokens spell, too, in one more
            forward each, and the logit lens of words (of a trace with hidden states) and of patches is shown. On the
            bundled model most of the evidence is there.

    Returns:
        The path.

    Raises:
        ModelInputError: The traces are of different prompts or images, a mark lies outside the answer, a map is of no
            word of it, or the diagnosis is of another answer.
        ShapeError: The traces have different layers or heads, or a map has other dims.
        OutputError: The file cannot be written.
    """
    with task("write a report"):
        target = path_of(path, OutputError)
    marks = {"hallucinated": hallucinated, "grounded": grounded}
    text = page(trace, compare=compare, title=title, **marks, diagnosis=diagnosis, maps=maps, model=model)
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
    maps: Maps = (),
    model: Any = None,
) -> str:
    """The text of the HTML file.

    Args:
        compare: A second one of the same prompt.
        title: Heading.
        hallucinated: Words to mark as hallucinated.
        grounded: Words to mark as grounded.
        diagnosis: As in `report`.
        maps: As in `report`.
        model: As in `report`.

    Returns:
        A document with a policy that forbids every request.
    """
    made = describe_document(
        trace, compare, hallucinated=hallucinated, grounded=grounded, diagnosis=diagnosis, maps=maps, model=model
    )
    document = with_parts(made)
    others = len(_json(document))
    room = max((_LIMIT - others) // len(made.word_maps), 100_000)
    document["maps"] = [kept_maps(each, room=room) for each in made.word_maps]
    script, style = page_script() + _START, page_style()
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


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(values: Any) -> str:
    """JSON in which no text can end the script element or start a comment of HTML."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
