"""What a model's inputs carry, by their names."""

from typing import Final

__all__ = ["is_image_input"]

_IMAGE_INPUTS: Final = ("pixel", "image", "video", "mm_encoder_outputs")


def is_image_input(name: str) -> bool:
    """Whether a model input of that name carries images, or says how they are cut.

    Args:
        name: A keyword of the model's forward.

    Returns:
        Whether it does.

    Examples:
        >>> is_image_input("pixel_values"), is_image_input("input_ids")
        (True, False)
    """
    return any(part in name for part in _IMAGE_INPUTS)
