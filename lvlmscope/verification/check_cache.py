"""Self-checks remembered between sessions, once per revision of a model and version of the libraries."""

import hashlib
import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lvlmscope.models.loaded_model import LoadedModel, unwrap
from lvlmscope.models.padded_batches import note_padding
from lvlmscope.traces.atomic_write import whole_file
from lvlmscope.verification.self_check import check

__all__ = ["cache_folder", "check_once"]


def cache_folder() -> Path:
    """Where passed checks are kept: ``LVLMSCOPE_CACHE``, else ``lvlmscope`` in the user's cache folder.

    Returns:
        The folder, which may not exist yet.
    """
    given = os.environ.get("LVLMSCOPE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lvlmscope"


def check_once(loaded: LoadedModel, source: str | None) -> None:
    """Check a model unless this revision of it has passed before with these versions.

    Args:
        source: Folder or hub id it was loaded from; None for a model made in memory, which is checked every time.

    Raises:
        UnsupportedModelError: The check failed.
        ReplayError: The replay disagrees with the generation.
    """
    record = None if source is None else cache_folder() / "checks" / f"{_fingerprint(loaded, source)}.json"
    if record is not None and (reason := _kept_reason(record)) is not None:
        note_padding(unwrap(loaded), reason)
        return
    found = check(loaded)
    found.raise_if_failed()
    if record is None:
        return
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(record) as temporary:
            kept = {"model": loaded.name, "check": repr(found), "padding_reason": found.padding_reason}
            temporary.write_text(json.dumps(kept), encoding="utf-8")
    except OSError as error:
        text = f"the check of {loaded.name} cannot be remembered in {record.parent} ({error}); it runs at every load"
        warnings.warn(text, stacklevel=3)


def _kept_reason(record: Path) -> str | None:
    """The padding reason of a check that passed; None without a record, or with one that cannot be read."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is made again
        return None
    reason = found.get("padding_reason") if isinstance(found, dict) else None
    return reason if isinstance(reason, str) else None


def _fingerprint(loaded: LoadedModel, source: str) -> str:
    model = loaded.model
    facts: dict[str, Any] = {
        "source": source,
        "class": type(model).__name__,
        "revision": getattr(model.config, "_commit_hash", None),
        "dtype": str(model.dtype),
        "kernel": getattr(model.config, "_attn_implementation", None),
        "versions": [version(name) for name in ("lvlmscope", "torch", "transformers")],
    }
    folder = Path(source)
    if folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".bin"))
        facts["files"] = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
