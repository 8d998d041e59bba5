"""Builds `sprites.webp` + `sprites.json` from three openly licensed emoji sets; run once by a maintainer.

    npm pack @lobehub/fluent-emoji-3d @iconify-json/fluent-emoji-flat @iconify-json/noto   # unpack each into DIR/NAME
    pip install resvg-py
    python -m lvlmscope.tiny.recipe.build_sprites DIR

The result is committed, so users and training need neither npm nor resvg. Licences: NOTICE beside this file.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 64
COLUMNS = 24

# category -> (Fluent 3D code points, icon names looked up in Fluent flat and Noto)
DRAWINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "person": (("1f9cd-200d-2640-fe0f", "1f6b6", "1f9cd"), ("man-standing", "woman-standing", "person-walking")),
    "bicycle": (("1f6b2",), ("bicycle",)),
    "car": (("1f697", "1f699"), ("automobile", "sport-utility-vehicle")),
    "motorcycle": (("1f3cd-fe0f", "1f6f5"), ("motorcycle", "motor-scooter")),
    "airplane": (("2708-fe0f", "1f6e9-fe0f"), ("airplane", "small-airplane")),
    "bus": (("1f68c", "1f68d"), ("bus", "oncoming-bus")),
    "train": (("1f682", "1f686"), ("locomotive", "train")),
    "truck": (("1f69a", "1f6fb"), ("delivery-truck", "pickup-truck")),
    "boat": (("26f5", "1f6a4"), ("sailboat", "speedboat")),
    "traffic light": (("1f6a6", "1f6a5"), ("vertical-traffic-light", "horizontal-traffic-light")),
    "stop sign": (("1f6d1",), ("stop-sign",)),
    "bird": (("1f426", "1f99c"), ("bird", "parrot")),
    "cat": (("1f408", "1f431"), ("cat", "cat-face")),
    "dog": (("1f415", "1f436"), ("dog", "dog-face")),
    "horse": (("1f40e", "1f434"), ("horse", "horse-face")),
    "sheep": (("1f411",), ("ewe",)),
    "cow": (("1f404", "1f42e"), ("cow", "cow-face")),
    "elephant": (("1f418",), ("elephant",)),
    "bear": (("1f43b",), ("bear",)),
    "zebra": (("1f993",), ("zebra",)),
    "giraffe": (("1f992",), ("giraffe",)),
    "backpack": (("1f392",), ("backpack",)),
    "umbrella": (("2602-fe0f", "1f302"), ("umbrella", "closed-umbrella")),
    "handbag": (("1f45c",), ("handbag",)),
    "suitcase": (("1f9f3",), ("luggage",)),
    "frisbee": (("1f94f",), ("flying-disc",)),
    "sports ball": (("26bd", "1f3c0"), ("soccer-ball", "basketball")),
    "kite": (("1fa81",), ("kite",)),
    "skateboard": (("1f6f9",), ("skateboard",)),
    "bottle": (("1f37e", "1f37c"), ("bottle-with-popping-cork", "baby-bottle")),
    "wine glass": (("1f377",), ("wine-glass",)),
    "cup": (("2615", "1f375"), ("hot-beverage", "teacup-without-handle")),
    "knife": (("1f52a",), ("kitchen-knife",)),
    "spoon": (("1f944",), ("spoon",)),
    "bowl": (("1f963", "1f35c"), ("bowl-with-spoon", "steaming-bowl")),
    "banana": (("1f34c",), ("banana",)),
    "apple": (("1f34e", "1f34f"), ("red-apple", "green-apple")),
    "sandwich": (("1f96a",), ("sandwich",)),
    "orange": (("1f34a",), ("tangerine",)),
    "broccoli": (("1f966",), ("broccoli",)),
    "carrot": (("1f955",), ("carrot",)),
    "pizza": (("1f355",), ("pizza",)),
    "donut": (("1f369",), ("doughnut",)),
    "cake": (("1f382", "1f370"), ("birthday-cake", "shortcake")),
    "chair": (("1fa91",), ("chair",)),
    "couch": (("1f6cb-fe0f",), ("couch-and-lamp",)),
    "potted plant": (("1fab4",), ("potted-plant",)),
    "bed": (("1f6cf-fe0f",), ("bed",)),
    "toilet": (("1f6bd",), ("toilet",)),
    "tv": (("1f4fa",), ("television",)),
    "laptop": (("1f4bb",), ("laptop",)),
    "mouse": (("1f5b1-fe0f",), ("computer-mouse",)),
    "keyboard": (("2328-fe0f",), ("keyboard",)),
    "cell phone": (("1f4f1",), ("mobile-phone",)),
    "book": (("1f4d5", "1f4d6"), ("closed-book", "open-book")),
    "clock": (("1f570-fe0f", "23f0"), ("mantelpiece-clock", "alarm-clock")),
    "vase": (("1f3fa",), ("amphora",)),
    "teddy bear": (("1f9f8",), ("teddy-bear",)),
    "toothbrush": (("1faa5",), ("toothbrush",)),
}


def render_icon(icons: dict[str, Any], name: str, fallback: int) -> Image.Image:
    """One SVG icon of an Iconify set as a 128 x 128 RGBA image."""
    import resvg_py

    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"][name]
    width, height = icon.get("width", fallback), icon.get("height", fallback)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {spaces} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    data = resvg_py.svg_to_bytes(svg_string=svg, width=128, height=128)
    return Image.open(io.BytesIO(bytes(data))).convert("RGBA")


def fit(image: Image.Image) -> Image.Image:
    """Crops to the drawing and scales its longer side to SIZE, centred on a transparent square."""
    image = image.crop(image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox())
    scale = SIZE / max(image.size)
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
    square = Image.new("RGBA", (SIZE, SIZE))
    square.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return square


def collect(folder: Path) -> list[tuple[str, str, Image.Image]]:
    """Every drawing as (category, source, image)."""
    sets = {name: json.loads((folder / name / "package/icons.json").read_text()) for name in ("flat", "noto")}
    drawings = []
    for category, (codes, names) in DRAWINGS.items():
        for code in codes:
            path = folder / "package/assets" / f"{code}.webp"
            drawings.append((category, f"fluent-3d/{code}", fit(Image.open(path).convert("RGBA"))))
        for style, fallback in (("flat", 32), ("noto", 128)):
            icons = sets[style]
            drawings += [(category, f"{style}/{n}", fit(render_icon(icons, n, fallback))) for n in names]
    return drawings


def main(folder: Path) -> None:
    """Writes the sheet and its index beside this file."""
    drawings = collect(folder)
    rows = -(-len(drawings) // COLUMNS)
    sheet = np.zeros((rows * SIZE, COLUMNS * SIZE, 4), dtype=np.uint8)
    index: list[dict[str, Any]] = []
    for number, (category, source, image) in enumerate(drawings):
        row, column = divmod(number, COLUMNS)
        sheet[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE] = np.asarray(image)
        index.append({"category": category, "source": source, "row": row, "column": column})
    here = Path(__file__).parents[1]
    Image.fromarray(sheet).save(here / "sprites.webp", quality=90, method=6)
    (here / "sprites.json").write_text(json.dumps({"size": SIZE, "drawings": index}, indent=0) + "\n")
    sys.stdout.write(f"{len(drawings)} drawings of {len(DRAWINGS)} categories\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
