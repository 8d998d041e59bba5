"""Installed packages for tests: modules and entry points written into a folder that Python then searches."""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["installed"]


@contextmanager
def installed(folder: Path, package: str, source: str, entry_points: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """A distribution of one module, as pip would leave it, found inside the block.

    Args:
        folder: An empty folder.
        package: Name of the distribution and of its module.
        source: Text of the module.
        entry_points: Names and values of each group.
    """
    (folder / f"{package}.py").write_text(source, encoding="utf-8")
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(package, None)
