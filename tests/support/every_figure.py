"""Every figure on traces that are hard to draw, in both backends: `python -m tests.support.every_figure FOLDER [NAME]`.

It writes a PNG for each and a sheet of all figures of a trace; plotly is drawn by the system's Chromium.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image, ImageDraw

from lvlmscope import plot
from lvlmscope.diagnostics import anchor_correlation, layer_correlation, layer_image_entropy, planted_trace, saliency
from lvlmscope.traces.token_layout import Cell, ImageLayout, Layout
from lvlmscope.traces.trace import Trace

_ANSWER = "A dog and a grey cat sit on the red sofa beside a small wooden table with two cups of green tea"
WORDS = _ANSWER.split()
_CHINESE = "一只 灰色 的 猫 和 一条 狗 坐在 红色 的 沙发 上 ， 旁边 是 木桌"
CHINESE = _CHINESE.split()


def photo(size: tuple[int, int]) -> Image.Image:
    """A picture with things in it: a sky, a sun, a house."""
    wide, high = size
    down = np.linspace(0, 1, high)[:, None, None]
    sky = np.broadcast_to((1 - down) * np.array([90, 150, 220]) + down * np.array([220, 200, 150]), (high, wide, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((wide * 0.72, high * 0.08, wide * 0.88, high * 0.08 + wide * 0.16), fill=(250, 220, 60))
    pen.rectangle((wide * 0.2, high * 0.5, wide * 0.5, high * 0.9), fill=(170, 60, 50))
    pen.polygon([(wide * 0.16, high * 0.5), (wide * 0.35, high * 0.3), (wide * 0.54, high * 0.5)], fill=(70, 50, 40))
    pen.rectangle((wide * 0.31, high * 0.68, wide * 0.39, high * 0.9), fill=(240, 230, 200))
    return image


def layout_of(boxes: list[dict[str, Any]], steps: int, images: tuple[ImageLayout, ...] | None = None) -> Layout:
    """One system key, the image tokens, one question key, and the answer."""
    found = images or (ImageLayout(cells=tuple(Cell(key=1 + n, image=0, **one) for n, one in enumerate(boxes))),)
    count = sum(len(image.cells) for image in found)
    kinds = ("system", *["image"] * count, "question", *["answer"] * (steps - 1))
    return Layout(kinds=kinds, images=found)


def grid_cells(rows: int, columns: int, size: tuple[int, int], *, first: int = 1, **place: int) -> list[Cell]:
    """Cells of a grid over the whole image, in reading order."""
    wide, high = size[0] / columns, size[1] / rows
    boxes = [(c * wide, r * high, (c + 1) * wide, (r + 1) * high) for r in range(rows) for c in range(columns)]
    options: dict[str, Any] = {"image": 0, **place}
    return [
        Cell(key=first + n, row=n // columns, column=n % columns, box=box, **options) for n, box in enumerate(boxes)
    ]


def filled(layout: Layout, words: list[str], *, layers: int, heads: int, images: tuple[Image.Image, ...]) -> Trace:
    """Attention with a sink patch, an object that some words look at in some layers, and noise elsewhere."""
    steps, count = len(words), sum(len(image.cells) for image in layout.images)
    trace = planted_trace(steps=steps, layers=layers, heads=heads, side=1)
    rng = np.random.default_rng(len(words) + count)
    keys = 2 + count + steps - 1
    weights = rng.exponential(1.0, (steps, layers, heads, keys)).astype(np.float32)
    deep = np.linspace(0.2, 1.8, layers)[:, None, None]
    places = {cell.key: cell.box for image in layout.images for cell in image.cells if cell.box is not None}
    sizes = {cell.key: image.size for image in layout.images for cell in image.cells}
    middle = {key: ((b[0] + b[2]) / 2 / sizes[key][0], (b[1] + b[3]) / 2 / sizes[key][1]) for key, b in places.items()}
    house = [key for key, (x, y) in middle.items() if 0.2 < x < 0.5 and 0.3 < y < 0.9]
    for step in range(0, steps, 3):
        weights[step][..., house] += 12 * deep * rng.random((layers, heads, 1))
    weights[:, layers // 2 :, :, 1 + count // 3] += 0.15 * keys  # a patch that is a sink
    weights[..., 0] += 0.3 * keys
    for step in range(steps):
        weights[step, ..., 2 + count + step :] = 0
    weights /= weights.sum(-1, keepdims=True)
    spaced = tuple((" " if n else "") + word if word.isascii() else word for n, word in enumerate(words))
    per_step = torch.from_numpy(rng.exponential(0.8, steps).astype(np.float32))
    return dataclasses.replace(
        trace,
        attention=torch.from_numpy(weights),
        gradient=torch.from_numpy(rng.normal(size=weights.shape).astype(np.float32) * (weights > 0)),
        layout=layout,
        tokens=("<s>", *["<image>"] * count, "?", *spaced[:-1]),
        answer_tokens=spaced,
        answer="".join(spaced),
        entropy=per_step,
        images=images,
    )


def single(rows: int, columns: int, words: list[str], *, layers: int = 8, heads: int = 8) -> Trace:
    """One image of a grid of patches."""
    size = (columns * 14, rows * 14)
    image = ImageLayout(cells=tuple(grid_cells(rows, columns, size)), size=size, grid=(rows, columns))
    return filled(layout_of([], len(words), (image,)), words, layers=layers, heads=heads, images=(photo(size),))


def tiled() -> Trace:
    """An overview of 8 x 8 patches, four tiles of 8 x 8, and a newline after each row of them."""
    size = (336, 336)
    cells = grid_cells(8, 8, size, tile=0)
    for tile in range(4):
        left, top = (tile % 2) * 168.0, (tile // 2) * 168.0
        for cell in grid_cells(8, 8, (168, 168), first=len(cells) + 1, tile=tile + 1):
            x0, y0, x1, y1 = cell.box or (0, 0, 0, 0)
            cells.append(dataclasses.replace(cell, box=(x0 + left, y0 + top, x1 + left, y1 + top)))
        cells += [Cell(key=len(cells) + 1 + n, image=0, role="newline", tile=tile + 1) for n in range(8)]
    image = ImageLayout(cells=tuple(cells), size=size, grid=(8, 8))
    return filled(layout_of([], len(WORDS), (image,)), WORDS, layers=8, heads=8, images=(photo(size),))


def video() -> Trace:
    """Six frames of 10 x 14 patches."""
    size, cells = (280, 200), []
    for frame in range(6):
        cells += grid_cells(10, 14, size, first=len(cells) + 1, frame=frame)
    image = ImageLayout(cells=tuple(cells), size=size, grid=(10, 14), pixels="input")
    return filled(layout_of([], len(WORDS), (image,)), WORDS, layers=8, heads=8, images=())


def two_images() -> Trace:
    """A wide image and a tall one."""
    first = grid_cells(8, 16, (224, 112))
    second = grid_cells(16, 8, (112, 224), first=len(first) + 1, image=1)
    images = (
        ImageLayout(cells=tuple(first), size=(224, 112), grid=(8, 16)),
        ImageLayout(cells=tuple(second), size=(112, 224), grid=(16, 8)),
    )
    pictures = (photo((224, 112)), photo((112, 224)))
    return filled(layout_of([], len(WORDS), images), WORDS, layers=8, heads=8, images=pictures)


TRACES: dict[str, Callable[[], Trace]] = {
    "24x24": lambda: single(24, 24, WORDS),
    "40x60": lambda: single(40, 60, WORDS),
    "tiles": tiled,
    "video": video,
    "two_images": two_images,
    "80_layers_64_heads": lambda: single(12, 12, WORDS[:4], layers=80, heads=64),
    "500_words": lambda: single(6, 6, [f"{WORDS[n % 21]}{n}" for n in range(500)], layers=4, heads=4),
    "chinese": lambda: single(8, 8, CHINESE),
    "one_token": lambda: single(4, 4, ["dog"], layers=1, heads=1),
}


def marks(trace: Trace) -> dict[str, Any]:
    """A few words of each kind."""
    steps = trace.num_steps
    return {} if steps < 4 else {"hallucinated": [1, steps // 2], "grounded": [0, 3, steps - 1]}


def figures(trace: Trace) -> dict[str, Callable[..., Any]]:
    """What is drawn of a trace."""
    last, layers, heads = trace.num_steps - 1, trace.num_layers, trace.num_heads
    words = sorted({0, last // 2, last})
    video: dict[str, Any] = {} if len({cell.frame for cell in trace.layout.images[0].cells}) == 1 else {"frame": 1}
    size = trace.layout.images[0].size or (1, 1)
    changed = dataclasses.replace(trace, attention=trace.attention.flip(2))
    lost = layer_image_entropy(trace).rename(layer="window", step="word").drop_vars("token")
    texts = [text.strip() or "·" for text in trace.answer_tokens]
    lost = lost.assign_coords(word=texts, window=[f"{n}-{n + 1}" for n in range(layers)])
    return {
        "overlay": lambda **o: plot.overlay(trace, words, **video, **o),
        "overlay_shared": lambda **o: plot.overlay(trace, words, scale="shared", **video, **o),
        "overlay_sinks": lambda **o: plot.overlay(trace, words, sinks="exclude", **video, **o),
        "overlay_layers": lambda **o: plot.overlay(trace, 0, each="layer", **video, **o),
        "overlay_heads": lambda **o: plot.overlay(trace, 0, each="head", layers=[layers - 1], **video, **o),
        "overlay_mosaic": lambda **o: plot.overlay(trace, 0, each="layer_head", **video, **o),
        "overlay_pairs": lambda **o: plot.overlay(
            trace, 0, each="head", heads=[(layers - 1, heads - 1), (0, 0)], contour=True, cmap="magma", **video, **o
        ),
        "attending_words": lambda **o: plot.attending_words(
            trace,
            box=tuple(share * side for share, side in zip((0.2, 0.4, 0.5, 0.9), 2 * size, strict=True)),
            **video,
            **marks(trace),
            **o,
        ),
        "heatmap": lambda **o: plot.heatmap(trace, **o),
        "compare": lambda **o: plot.compare(trace, changed, **o),
        "correlation": lambda **o: plot.correlation(layer_correlation(trace), **o),
        "saliency_matrix": lambda **o: plot.saliency_matrix(trace, saliency(trace), **o),
        "timeline": lambda **o: plot.timeline(trace, **marks(trace), **o),
        "layers": lambda **o: plot.layers([layer_image_entropy(trace), anchor_correlation(trace)], **o),
        "distribution": lambda **o: plot.distribution(trace, **marks(trace), **o),
        "windows": lambda **o: plot.windows(lost, **o),
    }


def without_trace() -> dict[str, Callable[..., Any]]:
    """Figures of what many traces or runs gave."""
    from lvlmscope.evaluation import paper_figures
    from tests.plot.test_ablations import timed
    from tests.plot.test_binned_rates import binned
    from tests.support.labelled_traces import labels_of, made

    traces = made(12, focus=lambda false: 0.3 + 0.3 * (not false))
    labels = labels_of(traces)
    by_word = paper_figures.entropy_by_word(traces, labels)
    classes: xr.Dataset = by_word.isel(layer=0) if "layer" in by_word.dims else by_word
    return {
        "ablation": lambda **o: plot.ablation(timed(6), **o),
        "rates": lambda **o: plot.rates(binned((0.1, 0.2, 0.4, 0.5), bins=4), **o),
        "classes": lambda **o: plot.distribution(classes, **o),
        "layers_by_word": lambda **o: plot.layers(by_word, **o),
    }


def drawn(chosen: list[str]) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Names of trace and figure, and the figure."""
    for name, made in TRACES.items():
        if not chosen or any(f"{name}/" in f"{each}/" or each in figure for each in chosen for figure in _NAMES):
            trace = made()
            for figure, draw in figures(trace).items():
                if not chosen or name in chosen or figure in chosen or f"{name}/{figure}" in chosen:
                    yield name, figure, draw
    for figure, draw in without_trace().items():
        if not chosen or figure in chosen:
            yield "many", figure, draw


_NAMES = tuple(figures(planted_trace(salient="previous", steps=2)))


def main(folder: Path, chosen: list[str]) -> None:
    """Draws everything, or what is named: traces, figures, or TRACE/FIGURE."""
    import matplotlib as mpl

    from tests.support.browser import chromium

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        for trace, name, draw in drawn(chosen):
            both = folder / f"{trace}.{name}.png"
            draw().savefig(folder / "left.png", dpi=110)
            figure = draw(backend="plotly")
            figure.write_html(folder / "right.html", include_plotlyjs="directory")
            page.set_viewport_size({"width": int(figure.layout.width) + 20, "height": int(figure.layout.height) + 20})
            page.goto((folder / "right.html").as_uri())
            page.wait_for_selector(".main-svg")
            page.screenshot(path=folder / "right.png")
            with Image.open(folder / "left.png") as left, Image.open(folder / "right.png") as right:
                sheet = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
                sheet.paste(left, (0, 0))
                sheet.paste(right, (left.width, 0))
            sheet.save(both)
            print(both)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
