"""A trained cell on disk: its options and notes as JSON beside its weights as safetensors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, get_args

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import TypedDict

from lvlmscope.errors import CellError, message, task
from lvlmscope.interface.paths import path_of
from lvlmscope.traces.atomic_write import made_folder, whole_file
from lvlmscope.traces.validated_json import STRICT, read_json_object, validated

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "CellConfig", "read_cell", "write_cell"]

CONFIG_FILE: Final = "cell.json"
WEIGHTS_FILE: Final = "cell.safetensors"
FORMAT_VERSION: Final = 2
_READ: Final = (1, 2)
Kind = Literal["dgdpu", "gru", "residual_gru"]
_FIX: Final = "give a folder written by lvlmscope train hallurnn"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellConfig:
    """Options that determine a cell's tensors.

    Attributes:
        hidden_size: d, width of the residual stream it is made for.
        cell: `"dgdpu"`; `"gru"`, a standard gated recurrent unit, the paper's ablation; or `"residual_gru"`, ours,
            whose candidate adds to the stream.
        gates: Gates of the DG-DPU: `"dual"`, or one alone; must be `"dual"` for the others.
        weighting: `"confidence"` weights each gate of the DG-DPU by how far it is from undecided (ours); None does not.
        rank: r of factored matrices `W = A B` with A `[d, r]` and B `[r, d]`; None for whole ones.
    """

    hidden_size: int
    cell: Kind = "dgdpu"
    gates: Literal["dual", "constraint", "correction"] = "dual"
    rank: int | None = None
    weighting: Literal["confidence"] | None = None

    @task("configure a cell")
    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            CellError: An option outside its range, or gates chosen for another unit than the DG-DPU.
        """
        kinds, gates = get_args(Kind), ("dual", "constraint", "correction")
        if self.cell not in kinds or self.gates not in gates:
            got, expected = f"cell={self.cell!r}, gates={self.gates!r}", f"{', '.join(kinds)}; {', '.join(gates)}"
            raise CellError(message(got, expected, "choose one of each"))
        if self.cell != "dgdpu" and self.gates != "dual":
            got, expected = f"gates={self.gates!r} with cell={self.cell!r}", "gates of the DG-DPU only"
            raise CellError(message(got, expected, "leave gates out"))
        if self.weighting not in (None, "confidence") or (self.cell != "dgdpu" and self.weighting):
            got, expected = (
                f"weighting={self.weighting!r} with cell={self.cell!r}",
                "'confidence' for the DG-DPU, or None",
            )
            raise CellError(message(got, expected, "leave weighting out"))
        whole = all(type(size) is int for size in (self.hidden_size, self.rank if self.rank is not None else 1))
        if not whole or self.hidden_size < 1 or not (self.rank is None or 1 <= self.rank <= self.hidden_size):
            got = f"hidden_size={self.hidden_size}, rank={self.rank}"
            expected = "a whole hidden_size from 1; rank from 1 to hidden_size, or None"
            raise CellError(message(got, expected, "choose another rank"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the pre-activations, each with its own matrices W, U and bias b."""
        if self.cell != "dgdpu":
            return ("update_gate", "reset_gate", "candidate")  # a ModuleDict has an update of its own
        return {"dual": ("constraint", "correction")}.get(self.gates, (self.gates,))


def write_cell(folder: str | Path, config: CellConfig, tensors: Mapping[str, Tensor], notes: dict[str, Any]) -> None:
    """Write both files; neither takes its place before both are whole.

    Args:
        folder: Created where it does not exist.
        config: The cell's options.
        tensors: Its parameters.
        notes: JSON values kept beside the options.
    """
    with task("save a cell"):
        target = path_of(folder, CellError)
    files = (target / CONFIG_FILE, target / WEIGHTS_FILE)
    with made_folder(target), whole_file(files[0]) as config_file, whole_file(files[1]) as weights_file:
        save_file(dict(tensors), weights_file)
        # A process killed after the first renaming leaves files of two cells: the digest shows it
        digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
        options = {name: value for name, value in asdict(config).items() if name != "weighting" or value is not None}
        stored = {"format_version": FORMAT_VERSION, **options, "notes": notes, "weights_sha256": digest}
        config_file.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def read_cell(folder: str | Path) -> tuple[CellConfig, dict[str, Tensor]]:
    """Options and parameters of a cell.

    Args:
        folder: What `write_cell` wrote.

    Returns:
        Both.

    Raises:
        CellError: No cell there, another format, or files that do not belong together.
    """
    with task("load a cell"):
        source = path_of(folder, CellError)
    expected = f"{CONFIG_FILE} and {WEIGHTS_FILE} of one cell"
    with task(f"load a cell from {source}"):
        read = read_json_object(source / CONFIG_FILE, expected, CellError)
        version = read.get("format_version")
        if type(version) is not int or version not in _READ:
            got, expected_version = f"format {version!r}"[:80], f"format {' or '.join(map(str, _READ))}"
            raise CellError(message(got, expected_version, "update lvlmscope, or train the cell again"))
        stored = validated(_StoredConfig, read, expected, CellError)
        # What format 1 calls "gru" adds to the stream
        renamed: Kind = "residual_gru" if version == 1 and stored["cell"] == "gru" else stored["cell"]
        config = CellConfig(
            hidden_size=stored["hidden_size"],
            cell=renamed,
            gates=stored["gates"],
            rank=stored["rank"],
            weighting=stored.get("weighting"),
        )
        try:
            content = (source / WEIGHTS_FILE).read_bytes()
            digest = stored.get("weights_sha256")  # format 1 may have none
            if digest != hashlib.sha256(content).hexdigest() and (version > 1 or digest is not None):
                raise CellError(message(f"{WEIGHTS_FILE} that {CONFIG_FILE} was not written with", expected, _FIX))
            tensors = load_bytes(content)
        except (OSError, SafetensorError) as error:
            if isinstance(error, CellError):
                raise
            raise CellError(message(" ".join(str(error).split())[:160], expected, _FIX)) from error
        _require_shapes(config, tensors)
        return config, tensors


class _StoredConfig(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]

    format_version: int
    hidden_size: int
    cell: Kind
    gates: Literal["dual", "constraint", "correction"]
    rank: int | None
    weighting: NotRequired[Literal["confidence"] | None]
    notes: dict[str, Any]
    weights_sha256: NotRequired[str]


def _require_shapes(config: CellConfig, tensors: Mapping[str, Tensor]) -> None:
    """The biases have the width that the configuration names: before anything of that width is made."""
    size = config.hidden_size
    for name in config.inputs:
        bias = tensors.get(f"bias.{name}")
        if bias is None or bias.shape != (size,) or not all(tensor.isfinite().all() for tensor in tensors.values()):
            got = f"weights without a finite bias of {name} of width {size}"
            raise CellError(message(got, f"{WEIGHTS_FILE} of the cell in {CONFIG_FILE}", "copy both files together"))
