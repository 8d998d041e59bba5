"""The drawings that scenes are composed of: one sheet, cut on first use (origins and licences: NOTICE)."""

import json
from functools import cache

from PIL import Image

from lvlmscope.tiny.bundled_files import path

__all__ = ["count", "drawing"]


@cache
def _drawings() -> dict[str, list[Image.Image]]:
    folder = path("sprites.webp").parent
    index = json.loads(folder.joinpath("sprites.json").read_text())
    with folder.joinpath("sprites.webp").open("rb") as stream:
        sheet = Image.open(stream).convert("RGBA")
    side = index["size"]
    drawings: dict[str, list[Image.Image]] = {}
    for entry in index["drawings"]:
        left, top = entry["column"] * side, entry["row"] * side
        drawings.setdefault(entry["category"], []).append(sheet.crop((left, top, left + side, top + side)))
    return drawings


def count(category: str) -> int:
    """How many drawings a category has."""
    return len(_drawings()[category])


@cache
def drawing(category: str, number: int, *, size: int, mirrored: bool = False) -> Image.Image:
    """One drawing as an RGBA image of `size` x `size` pixels. Shared: do not draw on it."""
    image = _drawings()[category][number].resize((size, size), Image.Resampling.LANCZOS)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
