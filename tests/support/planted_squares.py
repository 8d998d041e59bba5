"""A square planted in an image, followed through a family's own image processor and its own features.

The vision tower's layers are made to pass each patch on unmixed, so that the features that change are the ones whose
patches the square touches: the model's own code says which token shows which pixels.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers as tf
from PIL import Image

from lvlmscope.models.families import family_of
from lvlmscope.traces.token_layout import Cell, ImageLayout
from tests.support.tiny_families import BEGIN, END, FAMILIES, IMAGE
from tests.support.tiny_others import OTHERS

WORDS = [1, 7, 8, 9]
_BRANCHES = ("out_proj", "o_proj", "fc2", "down_proj", "attn.proj", "projection_layer")
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A family's model, image processor and the way its tokens lie in the prompt."""

    family: str
    images: Any  # the image processor
    changes: dict[str, Any] = field(default_factory=dict)  # of the config
    tower: dict[str, Any] = field(default_factory=dict)  # of the vision config
    run: int | None = None  # image tokens between two markers; None: all of an image in one run
    options: dict[str, Any] = field(default_factory=dict)  # of the processor's call
    cell: int = 8  # input pixels per token

    def model(self) -> Any:
        made = (FAMILIES | OTHERS)[self.family]().model
        config = copy.deepcopy(made.config)
        for owner, values in ((config, self.changes), (config.vision_config, self.tower)):
            for name, value in values.items():
                setattr(owner, name, value)
        torch.manual_seed(0)
        return unmixed(type(made)(config).eval())


@torch.no_grad()
def unmixed(model: Any) -> Any:
    """A model whose vision layers add nothing to what they get."""
    for name, module in model.named_modules():
        if "vi" in name and ("layers" in name or "blocks" in name) and name.endswith(_BRANCHES):
            for weight in module.parameters():
                weight.zero_()
    for name, weight in model.named_parameters():
        if "newline" in name or "mm_input_projection" in name:  # zero or empty when made
            weight.normal_()
    return model


def image(size: tuple[int, int], *squares: Box) -> Image.Image:
    """Black, with white squares (left, top, right, bottom)."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for left, top, right, bottom in squares:
        pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


@torch.no_grad()
def features(model: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
    """The features that take the image tokens' places, per image as the model returns them."""
    wanted = {n: v for n, v in inputs.items() if n not in ("input_ids", "attention_mask", "num_patches", "num_crops")}
    found = model.get_image_features(**wanted).pooler_output
    return [one.reshape(-1, one.shape[-1]) for one in found]


def processed(case: Case, images: Sequence[Image.Image], **options: Any) -> dict[str, Any]:
    """What the family's image processor makes of the images."""
    given: Any = [list(images)] if case.family in ("idefics3", "smolvlm") else list(images)
    return dict(case.images(given, return_tensors="pt", **case.options, **options))


def prompt(model: Any, parts: Sequence[int], run: int | None) -> torch.Tensor:
    """Ids with each image's tokens between markers, in runs of some length."""
    del model
    ids = list(WORDS)
    for count in parts:
        for first in range(0, count, run or count):
            ids += [BEGIN, *[IMAGE] * min(run or count, count - first)]
        ids += [END, 11]
    return torch.tensor([ids])


@dataclass(frozen=True)
class Placed:
    """Layouts of the images of a prompt, and which of their tokens a change of the images changed."""

    layouts: tuple[ImageLayout, ...]
    changed: tuple[frozenset[int], ...]


def follow(
    case: Case, model: Any, before: Sequence[Image.Image], after: Sequence[Image.Image], *, processor: Any = None
) -> Placed:
    """Process both images; lay out the tokens; say which cells' features differ."""
    inputs = processed(case, before)
    old, new = (torch.cat(features(model, processed(case, images))) for images in (before, after))
    parts = [len(one) for one in features(model, inputs)]
    if "num_patches" in inputs:  # features come per tile: put an image's tiles together
        tiles = iter(parts)
        parts = [sum(next(tiles) for _ in range(number)) for number in inputs["num_patches"]]
    counts = [len(old)] if len(before) == 1 else parts
    inputs["input_ids"] = prompt(model, counts, case.run)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    keys = (inputs["input_ids"][0] == IMAGE).nonzero().flatten()
    layouts = family_of(model).image_layouts(
        model,
        keys,
        inputs,
        processor=processor or SimpleNamespace(image_processor=case.images, images_kwargs={}),
        sizes=[one.size for one in before],
    )
    difference = (new - old).abs().amax(-1)
    moved = {int(key) for key, change in zip(keys, difference, strict=True) if change > 0.01 * difference.max()}
    of_images = tuple(frozenset(cell.key for cell in layout.cells if cell.key in moved) for layout in layouts)
    return Placed(layouts, of_images)


def overlap(cell: Cell, square: Box) -> float:
    """Pixels by which a cell's box and a square overlap along the direction where they do least; below 0: apart."""
    if cell.box is None:
        return -np.inf
    (left, top, right, bottom), (x0, y0, x1, y1) = cell.box, square
    return min(min(right, x1) - max(left, x0), min(bottom, y1) - max(top, y0))


def beside(one: Cell, other: Cell) -> bool:
    """Whether two cells of a tile touch."""
    return abs(one.row - other.row) <= 1 and abs(one.column - other.column) <= 1


def disagreements(layout: ImageLayout, changed: frozenset[int], square: Box, pixels: int) -> list[tuple[Cell, str]]:
    """Cells that changed too far from the square, or did not although they show it.

    One pixel of resampling blur is allowed: of the image, or of the model's input where that is coarser. Boxes that are
    too wide do not widen it: a tile shows the whole image at most, divided among its rows and columns of tokens.
    """
    assert layout.size is not None
    found = []
    for cell in layout.cells:
        same = [c for c in layout.cells if c.tile == cell.tile and c.box is not None]
        widest = max(max(c.box[2] - c.box[0], c.box[3] - c.box[1]) for c in same if c.box)
        counts = len({c.column for c in same}), len({c.row for c in same})
        most = max(length / count for length, count in zip(layout.size, counts, strict=True))
        blur = max(1.0, min(widest, most) / pixels)
        # A token of padding alone is blurred at most where its neighbour is
        near = [cell] if cell.box is not None else [one for one in same if beside(one, cell)]
        shared = max((overlap(one, square) for one in near), default=-np.inf)
        shared = shared if cell.box is not None else min(shared, 0.0)
        if cell.key in changed and shared < -blur:
            found.append((cell, f"changed, {-shared:.1f} pixels away"))
        if cell.key not in changed and shared > blur:
            found.append((cell, f"did not change, shares {shared:.1f} pixels"))
    return found


def pil(name: str, **options: Any) -> Any:
    """A PIL image processor of transformers."""
    return getattr(tf, f"{name}ImageProcessorPil")(**options)


POINTS = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]
LARGE = [[36 * rows, 36 * columns] for rows in range(1, 5) for columns in range(1, 5)]
PAIR = {"height": 32, "width": 32}
CASES: dict[str, Callable[[], Case]] = {
    "llava": lambda: Case("llava", pil("CLIP", size={"shortest_edge": 32}, crop_size=PAIR)),
    "llava_padded": lambda: Case("llava", pil("Llava", size={"shortest_edge": 32}, crop_size=PAIR, do_pad=True)),
    "paligemma": lambda: Case("paligemma", pil("Siglip", size=PAIR)),
    "llava_next": lambda: Case(
        "llava_next",
        pil("LlavaNext", size={"shortest_edge": 32}, crop_size=PAIR, image_grid_pinpoints=POINTS),
        changes={"image_grid_pinpoints": POINTS},
    ),
    "llava_onevision": lambda: Case(
        "llava_onevision",
        pil("LlavaOnevision", size={"height": 36, "width": 36}, image_grid_pinpoints=LARGE),
        changes={"image_grid_pinpoints": LARGE},
        tower={"image_size": 36},  # 4 patches of 8 leave a rim of 4 pixels unseen
    ),
    "llava_onevision_shrunk": lambda: Case(
        "llava_onevision",
        pil("LlavaOnevision", size={"height": 36, "width": 36}, image_grid_pinpoints=LARGE),
        changes={"image_grid_pinpoints": LARGE, "vision_aspect_ratio": "anyres_max_2"},
        tower={"image_size": 36},
    ),
    **{
        name: lambda name=name: Case(
            name,
            pil("Qwen2VL", size={"shortest_edge": 256, "longest_edge": 16384}, patch_size=8, merge_size=2),
            cell=16,
        )
        for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
    },
    "internvl": lambda: Case(
        "internvl",
        pil("GotOcr2", size={"height": 64, "width": 64}, crop_to_patches=True, max_patches=6),
        cell=16,
    ),
    "gemma3": lambda: Case("gemma3", pil("Gemma3", size=PAIR), run=16),
    "gemma3_crops": lambda: Case(
        "gemma3",
        pil("Gemma3", size=PAIR),
        run=16,
        options={
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": 20,
            "pan_and_scan_max_num_crops": 4,
            "pan_and_scan_min_ratio_to_activate": 1.2,
        },
    ),
    "aya_vision": lambda: Case("aya_vision", pil("GotOcr2", size=PAIR, crop_to_patches=True, max_patches=6), run=16),
    "mistral3": lambda: Case(
        "mistral3", pil("Pixtral", size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})
    ),
    "pixtral": lambda: Case("pixtral", pil("Pixtral", size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})),
}
