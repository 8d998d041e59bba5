"""Where the bundled files lie: the model, its calibration, its trained cell."""

from importlib.resources import files
from pathlib import Path

from lvlmscope.interface.parameter_checks import checked

__all__ = ["path"]


@checked
def path(name: str) -> Path:
    """A file or folder that ships with lvlmscope.

    Args:
        name: Such as `"model"`, `"calibration.json"`, `"hallurnn"`.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: There is none of that name: an unknown name, or an incomplete installation.

    >>> path("model").joinpath("config.json").is_file()
    True
    """
    found = Path(str(files("lvlmscope"))) / "tiny" / name
    if not found.exists():
        raise FileNotFoundError(f"lvlmscope has no bundled {name!r} at {found}; install lvlmscope from its wheel")
    return found
