"""The page's script: the modules of ``page/`` joined into one, each after those that it imports from."""

import re
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["START", "START_APP", "page_script", "page_style", "script_parts"]

_IMPORT: Final = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:class|const|function) )", re.MULTILINE)
START: Final = "start.js"  # of a report and of a notebook
START_APP: Final = "start_app.js"  # of a local server's page, the only one that speaks to a server


@cache
def page_script(start: str = START) -> str:
    """One ES module without imports: a browser loads nothing else, and anywidget takes it as it is.

    Args:
        start: The module where the page begins.

    >>> "import {" in page_script(), page_script().count("export default")
    (False, 1)
    """
    return "\n".join(_IMPORT.sub("", _EXPORT.sub("", _text(name))).strip() + "\n" for name in script_parts(start))


def page_style() -> str:
    """The page's style sheet."""
    return _text("explorer.css")


def script_parts(start: str = START) -> tuple[str, ...]:
    """Names of the modules, each after those that it imports from.

    Args:
        start: As for `page_script`.

    >>> script_parts()[-1]
    'start.js'
    """
    order: dict[str, None] = {}
    _add(start, order, ())
    return tuple(order)


def _add(name: str, order: dict[str, None], waiting: tuple[str, ...]) -> None:
    assert name not in waiting, f"{name} imports itself through {' -> '.join(waiting)}"
    if name in order:
        return
    for _, needed in _IMPORT.findall(_text(name)):
        _add(needed, order, (*waiting, name))
    order[name] = None


@cache
def _text(name: str) -> str:
    return files("lvlmscope.explorer").joinpath("page", name).read_text(encoding="utf-8")
