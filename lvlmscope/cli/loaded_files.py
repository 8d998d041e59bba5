"""`--load mine.py`: Python files that register signals, interventions and model families before a name is looked up."""

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from lvlmscope.errors import ModelInputError, message

__all__ = ["LOAD_SETTING", "Load", "load_files"]

LOAD_SETTING: Final = "LVLMSCOPE_LOAD"
_PREFIX: Final = "lvlmscope_loaded_"  # a file called random.py must not become Python's own module of that name


def load_files(paths: Sequence[Path] | None) -> None:
    """Runs Python files, each once in a process; what they register is found by name from then on.

    Modules beside a file can be imported by it, as when Python runs it.

    Args:
        paths: Files in the order in which they run.

    Raises:
        ModelInputError: No such file, one that is no Python file, or one that raises: the message has the last line of
            its traceback and where in the file it was raised.
    """
    if not paths:
        return
    from lvlmscope.evaluation.signal_registry import list_signals

    list_signals()  # the package's own names are taken before a file takes one
    for path in map(Path.resolve, paths):
        if not path.is_file() or path.suffix != ".py":
            got = "a folder" if path.is_dir() else "a file that is not Python's" if path.exists() else "no such file"
            raise ModelInputError(message(got, "a Python file (.py)", "check the path", task=f"load {path}"))
        _run(path)


def _run(path: Path) -> None:
    name = _PREFIX + path.stem
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        last = " ".join(traceback.format_exception_only(error)[-1].split())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f" in line {lines[-1]}" if lines else ""
        got, fix = f"{last}{place}", f"correct it; `python {path.name}` shows the whole traceback"
        raise ModelInputError(message(got, "a file that runs", fix, task=f"load {path}")) from error


Load = Annotated[
    list[Path] | None,
    typer.Option(
        "--load",
        envvar=LOAD_SETTING,
        help="Python file that registers signals, interventions or families of your own; runs first.",
    ),
]
