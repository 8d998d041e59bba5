"""Composed scenes as LLaVA-Instruct JSON with image files, so that training runs on them as on any data."""

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lvlmscope.errors import ModelInputError, message, task
from lvlmscope.interface import progress
from lvlmscope.interface.parameter_checks import checked
from lvlmscope.tiny import Scene, captions, scene
from lvlmscope.tiny.world import SETTINGS, vocabulary_words
from lvlmscope.traces.atomic_write import made_folder, whole_file

__all__ = ["write_scenes"]


@checked
@task("write scenes")
def write_scenes(
    folder: Path, *, n: int, split: Literal["train", "tune"] = "train", seed: int = 7, surprising: float | None = None
) -> Path:
    """Write ``llava_instruct.json`` and ``images/``.

    Each scene is one record: a request to describe it, and its reference caption, which names every object and nothing
    else; those names are its emphasis.

    Args:
        folder: Made when it does not exist.
        n: Number of scenes.
        split: A split for fitting; the others are held out.
        seed: Seed of the scenes.
        surprising: Share of scenes with one of a setting's partners and not the other, about 0.2 in the splits: at 0.5
            only the image tells whether the other is there; None leaves it as the split has it.

    Returns:
        The JSON file.

    Raises:
        ModelInputError: A held-out split, no scenes, or a share outside [0, 1].
    """
    if split not in {"train", "tune"} or n < 1:
        got, expected = f"split={split!r}, n={n}", "train or tune; a number from 1"
        raise ModelInputError(message(got, expected, "choose both there"))
    if surprising is not None and not 0 <= surprising <= 1:
        got = f"surprising={surprising}"
        raise ModelInputError(message(got, "a share from 0 to 1", "choose it there"))
    records, path = [], folder / "llava_instruct.json"
    with made_folder(folder / "images") as images:
        for one in progress.bar(_chosen(split, n, seed, surprising), total=n, desc="scenes", delay=2):
            name = f"{one.split}-{one.seed}-{one.index}"
            with whole_file(images / f"{name}.png") as temporary:
                one.image.save(temporary, format="png", compress_level=1)
            records.append(_record(name, one))
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(records, indent=1))
    return path


def _chosen(split: Literal["train", "tune"], n: int, seed: int, surprising: float | None) -> Iterator[Scene]:
    """The first scenes of a split, in order; with a share, those that keep to it."""
    drawn = (scene(split, index, seed=seed) for index in count())
    if surprising is None:
        yield from islice(drawn, n)
        return
    wanted = {True: round(surprising * n), False: n - round(surprising * n)}
    for one in drawn:
        kind = _surprises(one)
        if wanted[kind]:
            wanted[kind] -= 1
            yield one
        if not any(wanted.values()):
            return


def _surprises(one: Scene) -> bool:
    """Whether the image breaks up one of its setting's pairs."""
    return any(len(one.present.intersection(pair)) == 1 for pair in SETTINGS[one.setting] if len(pair) == 2)


def _record(name: str, one: Scene) -> dict[str, Any]:
    rng = np.random.default_rng([one.seed, one.index, 2])
    question = str(rng.choice(captions.DESCRIBE))
    said = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": one.caption}]
    forms = vocabulary_words()
    named = [form for kind in sorted(one.present) for form in forms[kind] if form in one.caption]
    return {"id": name, "image": f"{name}.png", "conversations": said, "emphasis": named}
