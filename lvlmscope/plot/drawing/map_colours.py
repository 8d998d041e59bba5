"""Colours of a map that lies over an image: the higher a value, the less of the image shows through."""

from typing import TYPE_CHECKING, Final

import numpy as np

from lvlmscope.plot.data.colour_scale import Scale

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["GREY", "STEPS", "grey_image", "opacity_of", "over_grey", "plotly_colours", "translucent"]

STEPS: Final = 64  # colours of a map
GREY: Final = 0.5  # under a colour bar where there is no image
_GROWTH: Final = 0.75  # opacity of a value, as a share of the highest, to this power
_DARKEST: Final = 60  # of 255 + 60: black of the image is lightened to this, so that dark colours are seen on it


def opacity_of(shares: np.ndarray, alpha: float) -> np.ndarray:
    """Opacity of values given as shares of the highest, from 0 at 0 to `alpha` at 1.

    Examples:
        >>> opacity_of(np.array([0.0, 1.0]), 0.8).tolist()
        [0.0, 0.8]
    """
    opacity: np.ndarray = alpha * np.abs(np.clip(shares, -1.0, 1.0)) ** _GROWTH
    return opacity


def translucent(scale: Scale, alpha: float, *, alone: bool) -> np.ndarray:
    """Colours of a scale from its low end to its high one, with their opacity.

    Args:
        scale: Range and name of the colours.
        alpha: Opacity of the highest value.
        alone: There is no image below: all colours are opaque.

    Returns:
        Red, green, blue and opacity from 0 to 1 ``[STEPS, 4]``.
    """
    import matplotlib as mpl

    places = np.linspace(0.0, 1.0, STEPS)
    colours: np.ndarray = np.asarray(mpl.colormaps[scale.colours](places), dtype=float)
    shares = 2 * places - 1 if scale.low < 0 else places
    colours[:, 3] = 1.0 if alone else opacity_of(shares, alpha)
    return colours


def over_grey(colours: np.ndarray, grey: float) -> np.ndarray:
    """What is seen of colours over an even grey, opaque: what a colour bar shows.

    Args:
        colours: ``[step, 4]``.
        grey: From 0 to 1.

    Examples:
        >>> over_grey(np.array([[1.0, 0.0, 0.0, 0.0]]), 0.5).tolist()
        [[0.5, 0.5, 0.5, 1.0]]
    """
    seen = colours[:, :3] * colours[:, 3:] + grey * (1 - colours[:, 3:])
    return np.concatenate([seen, np.ones((len(colours), 1))], 1)


def plotly_colours(colours: np.ndarray) -> list[list[object]]:
    """Colours as plotly takes a scale: pairs of a place from 0 to 1 and a colour."""
    places = np.linspace(0.0, 1.0, len(colours))
    return [
        [float(place), f"rgba({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f},{opacity:.3f})"]
        for place, (red, green, blue, opacity) in zip(places, colours, strict=True)
    ]


def grey_image(image: "Image") -> "tuple[Image, float]":
    """An image in lightened grey, and its mean from 0 to 1."""
    grey = image.convert("L").point([round((level + _DARKEST) * 255 / (255 + _DARKEST)) for level in range(256)])
    return grey, float(np.asarray(grey).mean()) / 255
