"""Bundled scenes written as files in the formats of published data sets."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlmscope.tiny import CATEGORIES, Scene, scenes


@dataclass(frozen=True)
class CocoFiles:
    """A folder with `images/`, `instances.json` and `captions.json` of a few scenes."""

    folder: Path
    scenes: tuple[Scene, ...]

    @property
    def instances(self) -> Path:
        return self.folder / "instances.json"

    @property
    def captions(self) -> Path:
        return self.folder / "captions.json"

    @property
    def images(self) -> Path:
        return self.folder / "images"


def instances_of(held: tuple[Scene, ...]) -> dict[str, Any]:
    """COCO's `instances_*.json` of scenes; image ids are 1000, 1001, ..."""
    annotations = [
        {
            "image_id": 1000 + number,
            "category_id": CATEGORIES.index(name) + 1,
            "bbox": list(box),
            "segmentation": [[1, 2]],
        }
        for number, scene in enumerate(held)
        for name, box in zip(scene.objects, scene.boxes, strict=True)
    ]
    return {
        "info": {"year": 2026},
        "images": [{"id": 1000 + n, "file_name": f"scene_{n}.png", "width": 112} for n in range(len(held))],
        "annotations": [{"id": n, **one} for n, one in enumerate(annotations)],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(CATEGORIES)],
    }


def write_coco(folder: Path, n: int = 6, split: str = "prior", seed: int = 3) -> CocoFiles:
    """Writes images, instances and one reference caption an image."""
    held = tuple(scenes(split, n=n, seed=seed))
    files = CocoFiles(folder, held)
    files.images.mkdir(parents=True)
    for number, scene in enumerate(held):
        scene.image.save(files.images / f"scene_{number}.png")
    told = instances_of(held)
    files.instances.write_text(json.dumps(told), encoding="utf-8")
    captions = [{"id": n, "image_id": 1000 + n, "caption": scene.caption} for n, scene in enumerate(held)]
    files.captions.write_text(json.dumps({"images": told["images"], "annotations": captions}), encoding="utf-8")
    return files


def write_mme(folder: Path, n: int = 2) -> Path:
    """MME's two layouts, a subtask each, two questions an image."""
    held = tuple(scenes("neutral", n=n, seed=4))
    for subtask, pictures, questions in (
        ("existence", "", ""),
        ("landmark", "images", "questions_answers_YN"),
    ):
        for place in (pictures, questions):
            (folder / subtask / place).mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(held):
            there = sorted(scene.present)[0]
            absent = next(name for name in CATEGORIES if name not in scene.present)
            scene.image.save(folder / subtask / pictures / f"{number}.png")
            lines = f"Is there a {there} in the image?\tYes\nIs there a {absent} in the image?\tNo\n"
            (folder / subtask / questions / f"{number}.txt").write_text(lines, encoding="utf-8")
    return folder
