"""A tiny random LLaVA with a chat template, and a few records with images on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lvlmscope as lv
from lvlmscope.training import Record, TrainingOptions
from tests.support import tiny_models

TEMPLATE = (
    "{% for m in messages %}{{ 'USER:' if m['role'] == 'user' else 'ASSISTANT:' }}"
    "{% for part in m['content'] %}{{ ' <image>' if part['type'] == 'image' else ' ' + part['text'] }}{% endfor %}"
    "{{ ' ' if m['role'] == 'user' else ' </s> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
CONVERSATIONS = [
    [("w10 w11", "w20 w21 w22")],
    [("w12", "w23 w24 w25 w26")],
    [("w13 w14 w15", "w27"), ("w16", "w28 w29")],
    [("w17", "w20 w21 w30 w31 w32")],
]


def processor(template: str = TEMPLATE) -> Any:
    made = tiny_models.processor()
    made.chat_template = template
    return made


def loaded(seed: int = 0) -> lv.LoadedModel:
    return lv.load((tiny_models.llava(seed=seed).model, processor()), processor=processor())


def write(folder: Path) -> tuple[Path, Path]:
    """The records as LLaVA-Instruct JSON with their images."""
    images = folder / "images"
    images.mkdir(parents=True)
    written = []
    for number, turns in enumerate(CONVERSATIONS):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
        said = []
        for question, answer in turns:
            mark = "" if said else "<image>\n"
            said += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": answer}]
        written.append({"id": f"r{number}", "image": f"{number}.png", "conversations": said})
    (folder / "data.json").write_text(json.dumps(written))
    return folder / "data.json", images


def records(folder: Path) -> list[Record]:
    return lv.training.read_records(*write(folder))[0]


def options(output: Path, **settings: Any) -> TrainingOptions:
    chosen = {"max_steps": 6, "rate": 1e-2, "batch": 2, "precision": "fp32", "validation": 0.25, "log_steps": 1}
    return TrainingOptions(output=output, **(chosen | {"save_steps": 2} | settings))
