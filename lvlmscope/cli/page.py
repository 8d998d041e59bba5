"""The demo's page: one HTML file with its figures inside, every text escaped, nothing fetched from elsewhere."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lvlmscope.evaluation import Mention

__all__ = ["Chapter", "write_page"]

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #5b6470; --true: #006b4e; --wrong: #b34700; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e8ebee; --faint: #a5adb8; --true: #3ecf9f; --wrong: #ff9352; } }
body { background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; margin: 0 auto;
  max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
blockquote { border-left: .25rem solid var(--faint); margin: 1rem 0; padding: .1rem 1rem; font-size: 1.1rem; }
.true { color: var(--true); font-weight: 600; }
.made-up { color: var(--wrong); font-weight: 600; text-decoration: underline wavy; }
figure { margin: 0; }
img { background: #fff; border-radius: .4rem; display: block; height: auto; max-width: 100%; }
footer, .legend { color: var(--faint); font-size: .9rem; }
p, blockquote { overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One part of the page.

    Attributes:
        title: Heading.
        text: What to say.
        figure: File name of the figure, in the page's folder; it is embedded.
        alt: What the figure shows, for who cannot see it.
        narrow: The figure for a telephone, as the bytes of a PNG; without it, `figure` is scaled down.
        answer: An answer to quote, empty for none.
        true: Its true object words.
        made_up: Its made-up ones.
    """

    title: str
    text: str
    figure: str
    alt: str
    narrow: bytes = b""
    answer: str = ""
    true: Sequence[Mention] = ()
    made_up: Sequence[Mention] = ()


def write_page(folder: Path, chapters: Sequence[Chapter]) -> None:
    """Writes `page.html`.

    Args:
        folder: Holds the figures; the page goes there too.
        chapters: Its parts.
    """
    parts = "".join(_chapter(folder, chapter) for chapter in chapters)
    marked = any(chapter.true or chapter.made_up for chapter in chapters)
    legend = (
        '<p class="legend">Words about objects: <span class="true">true</span>, '
        '<span class="made-up">made up</span>.</p>'
    )
    (folder / "page.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>lvlmscope demo</title>'
        f"<style>{_STYLE}</style></head><body><h1>Where the model looked, and what it made up</h1>"
        f"{legend if marked else ''}{parts}<footer>Made by <code>lvlmscope demo</code>; the traces lie beside it."
        "</footer></body></html>\n",
        encoding="utf-8",
    )


def _chapter(folder: Path, chapter: Chapter) -> str:
    path = folder / chapter.figure
    figure = ""
    if path.exists():
        narrow = f'<source media="(max-width: 40rem)" srcset="{_data(chapter.narrow)}">' if chapter.narrow else ""
        image = f'<img src="{_data(path.read_bytes())}" alt="{html.escape(chapter.alt)}">'
        figure = f"<figure><picture>{narrow}{image}</picture></figure>"
    quoted = f"<blockquote>{_answer(chapter)}</blockquote>" if chapter.answer else ""
    return f"<h2>{html.escape(chapter.title)}</h2>{quoted}<p>{html.escape(chapter.text)}</p>{figure}"


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _answer(chapter: Chapter) -> str:
    """The answer with its object words in spans."""
    spans = [(m, "true") for m in chapter.true] + [(m, "made-up") for m in chapter.made_up]
    written, place = [], 0
    for mention, name in sorted(spans, key=lambda pair: pair[0].start):
        written.append(html.escape(chapter.answer[place : mention.start]))
        word = html.escape(chapter.answer[mention.start : mention.end])
        written.append(f'<span class="{name}">{word}</span>')
        place = mention.end
    return "".join([*written, html.escape(chapter.answer[place:])])
