"""Draws the gallery: `python docs/gallery/make.py [NAME ...]` runs the scripts beside it and keeps their figures.

Each script runs by itself, too, and then writes its figure where it is started. Here they share one process and the
bundled model. `python docs/gallery/make.py docs/images/*.png notebooks/*.ipynb` makes images that are elsewhere small.
"""

import base64
import functools
import io
import json
import os
import runpy
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

import lvlmscope as lv

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
_UNSEEN = 1.5  # levels of 256 by which pixels differ on average
_MOST = 24  # and nearly all of them at most
_RARE = 48  # and each of them: the ends of a colour bar have few pixels


def names() -> list[str]:
    """All scripts of the gallery, in the order of their names."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.name != "make.py")


def main(chosen: list[str], folder: Path = IMAGES) -> None:
    """Runs scripts, and says where each figure went.

    Args:
        chosen: Names without ending.
        folder: Where the figures go.
    """
    mpl.use("Agg")
    folder.mkdir(exist_ok=True)
    before = Path.cwd(), lv.load
    lv.load = functools.cache(lv.load)
    os.chdir(folder)
    try:
        for name in chosen:
            began = time.time_ns()
            runpy.run_path(str(HERE / f"{name}.py"))
            for path in sorted(folder.glob("*.png")):
                if path.stat().st_mtime_ns >= began:
                    compact(path)
                    print(f"{name}: {path.name}")  # noqa: T201
    finally:
        os.chdir(before[0])
        lv.load = before[1]


def compact(path: Path) -> None:
    """Writes an image anew: without the channel for transparency, in 256 colours where they look the same.

    Args:
        path: A PNG file, or a notebook, whose outputs' images are written anew.
    """
    if path.suffix == ".png":
        path.write_bytes(_compacted(path.read_bytes()))
        return
    book = json.loads(path.read_text(encoding="utf-8"))
    for output in (one for cell in book["cells"] for one in cell.get("outputs", ())):
        if drawn := output.get("data", {}).get("image/png"):
            small = _compacted(base64.b64decode(drawn))
            output["data"]["image/png"] = base64.b64encode(small).decode() + "\n"
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _compacted(drawn: bytes) -> bytes:
    with Image.open(io.BytesIO(drawn)) as image:
        opaque = image.convert("RGB")
    few = opaque.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)
    change = np.abs(np.asarray(opaque, dtype=np.int16) - np.asarray(few.convert("RGB"), dtype=np.int16))
    same = change.mean() < _UNSEEN and np.percentile(change, 99.9) < _MOST and change.max() < _RARE
    made = io.BytesIO()
    (few if same else opaque).save(made, "PNG", optimize=True)
    return min(made.getvalue(), drawn, key=len)


if __name__ == "__main__":
    drawn = [Path(given) for given in sys.argv[1:] if given.endswith((".png", ".ipynb"))]
    for path in drawn:
        compact(path)
    if not drawn:
        main(sys.argv[1:] or names())
