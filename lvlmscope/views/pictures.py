"""Pictures as data URIs, small enough for a page."""

import base64
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["data_uri"]

_CRISP: Final = 256  # pixels a side up to which nothing is lost to JPEG


def data_uri(picture: "Image", *, longest: int = 720) -> str:
    """A picture as a data URI: PNG when it is small, else JPEG.

    Args:
        picture: Any picture; transparency is laid on white.
        longest: Pixels of the longer side at most.

    Returns:
        Text starting with `data:image/`.

    >>> from PIL import Image
    >>> data_uri(Image.new("RGB", (8, 8)))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image as PillowImage

    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        flat = PillowImage.new("RGBA", layered.size, "white")
        flat.alpha_composite(layered)
        picture = flat
    small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    kind = "png" if max(small.size) <= _CRISP else "jpeg"
    small.save(buffer, format=kind.upper(), **({"quality": 82} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
