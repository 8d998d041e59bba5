"""Scenes composed on the fly from a seed: images whose objects, boxes and caption are known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface.declared_types import Range
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.tiny import captions, sprites
from lvlmscope.tiny.world import CATEGORIES, GUESTS, PARTNER, SETTINGS

__all__ = ["IMAGE_SIZE", "PARTNER_RATE", "Box", "Scene", "Split", "scene", "scenes"]

Split = Literal["train", "tune", "neutral", "prior", "hard"]
Box = tuple[int, int, int, int]

IMAGE_SIZE: Final = 112
PARTNER_RATE: Final = 0.85  # how often the partner of a present object is there too, outside the `prior` split
GUEST_RATE: Final = 0.25
INTRUDER_RATE: Final = 0.10
MAX_OBJECTS: Final = 5
MAX_OVERLAP: Final = 0.20  # share of an object's box that a later object may cover

_GROUND: Final[dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {  # far colour, near colour
    "street": ((176, 190, 205), (120, 120, 125)),
    "farm": ((170, 212, 240), (118, 170, 84)),
    "savanna": ((240, 214, 160), (200, 168, 98)),
    "lake": ((190, 220, 235), (92, 150, 180)),
    "park": ((160, 205, 240), (98, 182, 104)),
    "station": ((205, 200, 190), (150, 140, 132)),
    "table": ((230, 222, 210), (160, 116, 78)),
    "market": ((240, 226, 190), (190, 160, 120)),
    "lounge": ((222, 206, 190), (150, 120, 104)),
    "office": ((222, 228, 232), (168, 172, 180)),
    "bedroom": ((214, 214, 232), (150, 146, 176)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One composed image and everything that is known about it.

    Attributes:
        image: RGB image of `IMAGE_SIZE` x `IMAGE_SIZE` pixels.
        objects: category of each object, largest first; a category may occur twice.
        boxes: (left, top, right, bottom) in pixels of each object, half-open, in the order of `objects`.
        setting: where the scene plays, a key of `world.SETTINGS`.
        caption: a reference description of two to four sentences.
        split: the split that it belongs to, one of `Split`.
        index, seed: what `scene` needs to make it again.
    """

    image: Image.Image
    objects: tuple[str, ...]
    boxes: tuple[Box, ...]
    setting: str
    caption: str
    split: str
    index: int
    seed: int

    @property
    def present(self) -> frozenset[str]:
        """The categories in the image."""
        return frozenset(self.objects)

    @property
    def missing_partners(self) -> tuple[str, ...]:
        """Categories that the language prior expects here and that are absent, sorted."""
        return tuple(sorted({PARTNER[o] for o in self.objects if o in PARTNER} - self.present))


@checked
@task("draw scenes")
def scenes(split: Split, *, n: Annotated[int, Range(ge=0)], seed: int = 0) -> Iterator[Scene]:
    """Yields `n` scenes of a split; the same arguments give the same scenes on every machine.

    Args:
        split: `"train"` and `"tune"` are for fitting; `"neutral"` (the usual company), `"prior"` (the usual partner
            of a present object is missing) and `"hard"` (small, blurred, partly hidden) are held out.
        n: number of scenes.
        seed: another seed gives other scenes of the same split.

    Raises:
        ModelInputError: Unknown split, or a negative `n`.

    >>> first = next(scenes("prior", n=1))
    >>> first.image.size, len(first.objects) == len(first.boxes), bool(first.missing_partners)
    ((112, 112), True, True)
    """
    return (scene(split, index, seed=seed) for index in range(n))


@checked
@task("draw a scene")
def scene(split: Split, index: int, *, seed: int = 0, without: str | None = None) -> Scene:
    """Makes scene number `index` of a split (see `scenes`).

    Args:
        split: As for `scenes`.
        index: Number of the scene.
        seed: As for `scenes`.
        without: A category whose objects are not drawn, with everything else as it is. The caption is of what is left,
            empty where nothing is.

    Raises:
        ModelInputError: Unknown split, or a category that the scene does not have.
    """
    rng = np.random.default_rng([seed, get_args(Split).index(split), index])
    setting = str(rng.choice(list(SETTINGS)))
    wanted = _company(rng, setting, partners=split != "prior")
    image = _background(rng, setting)
    if without is not None and without not in wanted:
        expected = ", ".join(sorted(set(wanted)))
        raise ModelInputError(message(f"without={without!r}", expected, "choose an object of the scene"))
    placed = _place(rng, image, wanted, small=split == "hard", without=without)
    if split == "hard":
        _hide(rng, image, tuple(box for _, box in placed))
    image = _degrade(rng, image, strong=split == "hard")
    placed = [(name, box) for name, box in placed if name != without]
    objects, boxes = tuple(o for o, _ in placed), tuple(b for _, b in placed)
    caption = captions.describe(rng, objects, boxes, setting) if objects else ""
    return Scene(
        image=image,
        objects=objects,
        boxes=boxes,
        setting=setting,
        caption=caption,
        split=split,
        index=index,
        seed=seed,
    )


def _company(rng: np.random.Generator, setting: str, *, partners: bool) -> list[str]:
    """Which objects share an image: anchors of a setting, usually with partners, at times a guest or an intruder."""
    pairs = [pair for pair in SETTINGS[setting] if partners or len(pair) == 2]
    chosen: list[str] = []
    count = int(rng.choice([1, 2], p=[0.4, 0.6]))
    for number in rng.permutation(len(pairs))[:count]:
        pair = [str(name) for name in rng.permutation(pairs[number])]
        chosen += pair if len(pair) == 2 and partners and rng.random() < PARTNER_RATE else pair[:1]
    banned = {PARTNER[name] for name in chosen if name in PARTNER}
    if rng.random() < GUEST_RATE:
        chosen += _pick(rng, GUESTS[setting], set(chosen) | banned)
    if rng.random() < INTRUDER_RATE:
        chosen += _pick(rng, CATEGORIES, set(chosen) | banned)
    if len(chosen) < MAX_OBJECTS and rng.random() < 0.2:
        chosen.append(str(rng.choice(chosen)))
    return chosen[:MAX_OBJECTS]


def _pick(rng: np.random.Generator, names: tuple[str, ...], without: set[str]) -> list[str]:
    left = [name for name in names if name not in without]
    return [str(rng.choice(left))] if left else []


def _background(rng: np.random.Generator, setting: str) -> Image.Image:
    """Two tinted grounds with a horizon, soft texture and a few plain shapes that are no object."""
    far, near = (np.array(c, dtype=np.float32) + rng.normal(0, 14, 3) for c in _GROUND[setting])
    horizon = rng.uniform(0.3, 0.7) * IMAGE_SIZE
    blend = np.clip((np.arange(IMAGE_SIZE) - horizon) / rng.uniform(2, 30) + 0.5, 0, 1)[:, None, None]
    base = np.broadcast_to(far + (near - far) * blend, (IMAGE_SIZE, IMAGE_SIZE, 3))
    coarse = Image.fromarray(rng.integers(0, 255, (7, 7, 3), dtype=np.uint8)).resize(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC
    )
    texture = (np.asarray(coarse, dtype=np.float32) - 127) * rng.uniform(0.05, 0.25)
    image = Image.fromarray(np.clip(base + texture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 5))):
        x, y, w, h = (
            int(v) for v in (rng.integers(0, 100), rng.integers(0, 100), rng.integers(4, 40), rng.integers(4, 40))
        )
        colour = tuple(int(v) for v in np.clip((far + near) / 2 + rng.normal(0, 25, 3), 0, 255))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.5))))


def _place(
    rng: np.random.Generator, image: Image.Image, wanted: list[str], *, small: bool, without: str | None = None
) -> list[tuple[str, Box]]:
    """Pastes the objects, largest first, where they cover earlier ones little; returns them with their boxes."""
    low, high = (18, 30) if small else ((26, 62) if len(wanted) < 4 else (24, 46))
    sizes = sorted((int(rng.integers(low, high)) for _ in wanted), reverse=True)
    placed: list[tuple[str, Box]] = []
    for name, size in zip(wanted, sizes, strict=True):
        drawing = sprites.drawing(
            name, int(rng.integers(sprites.count(name))), size=size, mirrored=bool(rng.random() < 0.5)
        )
        drawing = drawing.rotate(float(rng.normal(0, 6)), Image.Resampling.BILINEAR)
        box = _free_spot(rng, drawing.size, [b for _, b in placed])
        left, top, right, bottom = drawing.getchannel("A").point(lambda a: 255 if a > 40 else 0).getbbox() or (
            0,
            0,
            size,
            size,
        )
        if name != without:
            image.paste(drawing, box[:2], drawing)
        placed.append((name, (box[0] + left, box[1] + top, box[0] + right, box[1] + bottom)))
    return placed


def _free_spot(rng: np.random.Generator, size: tuple[int, int], taken: list[Box]) -> Box:
    """The first of 20 random spots that overlaps no earlier box by much, else the least overlapping one."""
    best: tuple[float, Box] | None = None
    for _ in range(20):
        left, top = (int(rng.integers(0, max(1, IMAGE_SIZE - side))) for side in size)
        box = (left, top, left + size[0], top + size[1])
        worst = max((_covered(other, box) for other in taken), default=0.0)
        if best is None or worst < best[0]:
            best = (worst, box)
        if worst <= MAX_OVERLAP:
            break
    assert best is not None  # the loop ran
    return best[1]


def _covered(box: Box, by: Box) -> float:
    """The share of `box` that `by` covers."""
    width = min(box[2], by[2]) - max(box[0], by[0])
    height = min(box[3], by[3]) - max(box[1], by[1])
    return max(0, width) * max(0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def _hide(rng: np.random.Generator, image: Image.Image, boxes: tuple[Box, ...]) -> None:
    """Covers about a third of every other object with a plain patch."""
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in boxes:
        if rng.random() < 0.5:
            cut = round((right - left) * rng.uniform(0.25, 0.45))
            colour = image.getpixel((int(rng.integers(IMAGE_SIZE)), int(rng.integers(IMAGE_SIZE))))
            side = (left, top, left + cut, bottom) if rng.random() < 0.5 else (right - cut, top, right, bottom)
            draw.rectangle(side, fill=colour)


def _degrade(rng: np.random.Generator, image: Image.Image, *, strong: bool) -> Image.Image:
    """Blur, sensor noise and exposure; more of each when `strong`."""
    if strong or rng.random() < 0.3:
        image = image.filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.1) if strong else rng.uniform(0.3, 1.0)))
        )
    pixels = np.asarray(image, dtype=np.float32) * rng.uniform(0.8, 1.15)
    pixels = pixels + rng.normal(0, rng.uniform(4, 11) if strong else rng.uniform(0, 7), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
