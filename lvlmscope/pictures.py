"""Which pictures a trace is of: their names, sizes and digests, and whether two traces share them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lvlmscope.errors import ModelInputError, message

if TYPE_CHECKING:
    from lvlmscope.record import Trace

__all__ = ["describe_pictures", "names_of", "require_one_question"]

_SHOWN = 8  # hexadecimal digits of a digest


def names_of(image: Any) -> tuple[str, ...]:
    """File names of what ``read_images`` takes, empty texts where there is none.

    Args:
        image: A picture, a path, or a list of those.

    Returns:
        One name for each picture, without its folder.

    >>> names_of(["cats/a.png", Image.new("L", (2, 2))])
    ('a.png', '')
    """
    if isinstance(image, list | tuple):
        return tuple(name for one in image for name in names_of(one))
    source = image if isinstance(image, str | Path) else getattr(image, "filename", "")
    return (Path(source).name if isinstance(source, str | Path) else "",)


def describe_pictures(images: Sequence[Image.Image], names: Sequence[str]) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of the pixels of each picture.

    Args:
        images: RGB pictures.
        names: Their file names.

    Returns:
        JSON values.
    """
    return [
        {"name": name, "size": list(image.size), "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
        for image, name in zip(images, names, strict=True)
    ]


def require_one_question(before: "Trace", after: "Trace", asked: str) -> None:
    """Refuse two traces that are not of one prompt about the same pictures.

    Pictures are told apart by the digests in the traces' provenance. Where a trace has none (prepared inputs, files of
    earlier versions) the sizes and places of the image tokens are compared.

    Args:
        before: A trace.
        after: Another.
        asked: What for.

    Raises:
        ModelInputError: Other prompts, or other pictures, which are named.
    """
    if before.prompt_length != after.prompt_length or before.prompt != after.prompt:
        received = f"{before.prompt!r} ({before.prompt_length} tokens) and {after.prompt!r} ({after.prompt_length})"
        raise ModelInputError(message(asked, received, "two traces of one prompt", "trace the same inputs"))
    known = [trace.provenance.get("pictures", []) for trace in (before, after)]
    digests = [[picture["sha256"] for picture in each] for each in known]
    same = digests[0] == digests[1] if all(digests) else before.layout.images == after.layout.images
    if not same:
        told = [
            ", ".join(map(_told, each)) or _shape(trace) for each, trace in zip(known, (before, after), strict=True)
        ]
        received, possible = f"pictures that differ: {told[0]} and {told[1]}", "two traces of one picture"
        raise ModelInputError(message(asked, received, possible, "trace the same picture"))


def _told(picture: dict[str, Any]) -> str:
    name = f"{picture['name']} " if picture["name"] else ""
    return f"{name}({picture['size'][0]} x {picture['size'][1]} pixels, sha256 {picture['sha256'][:_SHOWN]})"


def _shape(trace: "Trace") -> str:
    sizes = [f"{i.size[0]} x {i.size[1]} pixels" if i.size else f"{len(i.cells)} tokens" for i in trace.layout.images]
    return f"({', '.join(sizes) or 'none'})"
