"""HalluRNN: a trained recurrent cell over depth gates what each decoder layer adds to the residual stream."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import torch
from torch import Tensor

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.errors import CellError, message
from lvlmscope.interface.declared_types import Range
from lvlmscope.interventions.depth_cell import CellOutput, DepthCell
from lvlmscope.interventions.forward_sums import ForwardSums
from lvlmscope.interventions.frozen_cell import FrozenCell
from lvlmscope.interventions.registry import intervention
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import ForwardInfo, MethodCard, ModelInfo, Session

__all__ = ["STAGNANT", "HalluRNN"]

STAGNANT: Final = 0.1  # with correction gates below this in every layer the state hardly changes any more


@intervention
@dataclass(frozen=True, slots=True, kw_only=True)
class HalluRNN(InterventionConfig):
    """Depth recurrence by a dual-gated unit (DG-DPU). Our reading of a summary of arXiv 2506.17587.

    For each predicting row on its own, v starts as the embedding output. After every decoder layer with output m the
    trained cell gives ``v' = cell(v, m)`` (formulas: `DepthCell`), and the next layer, after the last one the final
    norm, gets ``m + strength (v' - m)``, which is the next v: v is always the actual input of the layer.

    The cell has to be trained for the model (`lvlmscope train hallurnn`); one that was trained elsewhere loads into any
    model of the same hidden size, as the paper transfers them. Without training a cell is close to identity.

    Attributes:
        cell: A folder with `cell.json` and `cell.safetensors`, `"tiny"` for the bundled model's, or a `DepthCell`.
        strength: Share of the cell's edit, in [0, 1]; 0 is the untouched model, to the last bit, and 1 the method.
    """

    cell: str | Path | DepthCell = "tiny"
    strength: Annotated[float, Range(ge=0, le=1)] = 1.0

    reference: ClassVar[str] = "arXiv 2506.17587, our reading of a summary"
    card: ClassVar[MethodCard] = MethodCard(
        paper="arXiv 2506.17587",
        from_paper="a dual-gated cell shared by all layers, trained with the backbone frozen",
        our_choices="the cell's formulas, its start near identity, strength: a summary was public",
        cost="one small cell a layer and row; to be trained once for a model",
        search_space={"strength": (0.1, 1.0)},
    )

    def start(self, model_info: ModelInfo) -> Session:
        """A session for one model; the cell's files are read here.

        Raises:
            CellError: No such cell, or one made for another hidden size.
        """
        cell = self.cell if isinstance(self.cell, DepthCell) else DepthCell.load(_folder(self.cell))
        if cell.config.hidden_size != model_info.hidden_size:
            got = f"a cell of hidden size {cell.config.hidden_size} for a model of hidden size {model_info.hidden_size}"
            name = _name_of(model_info.model)
            expected, fix = "equal sizes", f"train one: lvlmscope train hallurnn --model {name}, then pass cell="
            raise CellError(message(got, expected, fix, task="switch on HalluRNN"))
        return _HalluRNNSession(cell, self.strength)


class _HalluRNNSession(Session):
    """Keeps the state of every row in the current forward, and sums for the report."""

    def __init__(self, cell: DepthCell, strength: float) -> None:
        self._cell = cell
        self._strength = strength
        self._copies: dict[tuple[torch.device, torch.dtype], DepthCell] = {}
        self._state: Tensor | None = None
        self._fused: dict[tuple[torch.device, torch.dtype], FrozenCell] = {}
        self._sums = ForwardSums()
        self._edits: list[tuple[int, Tensor, Tensor]] = []
        self._names: dict[str, None] = {}
        self._rows: dict[int, int] = {}

    def begin_forward(self, forward: ForwardInfo) -> None:
        """Clear the state."""
        del forward
        self._state = None

    def edit_hidden(self, layer: int, hidden: Tensor, rows: Tensor) -> Tensor | None:
        """Replace the layer's output by the next state, in the predicting rows."""
        if self._strength == 0:
            return None
        start = hidden.shape[1] - rows.numel()  # the predicting rows come last
        stream = hidden[:, start:]
        if layer == -1 or self._state is None:
            self._state = stream
            return None
        before, after = at_least_float32(self._state.to(stream.device)), at_least_float32(stream)
        output = self._step(before, after)
        state = output.state if self._strength == 1 else torch.lerp(after, output.state, self._strength)
        self._count(layer, output.gates, state, after)
        self._state = state.to(hidden.dtype)
        return torch.cat([hidden[:, :start], self._state], 1) if start else self._state

    def _step(self, before: Tensor, after: Tensor) -> CellOutput:
        cell = self._cell_on(after)
        if torch.is_grad_enabled() or not FrozenCell.fits(cell):
            output: CellOutput = cell(before, after)
            return output
        target = (after.device, after.dtype)
        if target not in self._fused:
            self._fused[target] = FrozenCell(cell)
        return self._fused[target](before, after)

    def end_forward(self, logits: Tensor) -> None:
        """Add up what the layers gave."""
        del logits
        self._settle()

    def _cell_on(self, stream: Tensor) -> DepthCell:
        """The cell on the layer's device and in the precision of the computation; layers may lie on several devices."""
        target = (stream.device, stream.dtype)
        if target not in self._copies:
            if next(self._cell.parameters()).device == target[0] and next(self._cell.parameters()).dtype == target[1]:
                self._copies[target] = self._cell
            else:
                copy = DepthCell(self._cell.config)
                copy.load_state_dict(self._cell.state_dict())
                self._copies[target] = copy.to(*target).requires_grad_(False)
        return self._copies[target]

    def _count(self, layer: int, gates: dict[str, Tensor], state: Tensor, after: Tensor) -> None:
        """Keep what the report is made of; it stays on the device, so that the forward does not wait for it."""
        rows = state.shape[0] * state.shape[1]
        for name, gate in gates.items():
            self._names[name] = None
            self._sums.add(name, layer, gate if state.shape[1] == 1 else gate.sum(-1))
        self._edits.append((layer, state.detach(), after.detach()))
        self._rows[layer] = self._rows.get(layer, 0) + rows
        if state.shape[1] > 1:
            self._settle()

    @torch.no_grad()
    def _settle(self) -> None:
        """Norms of the edits, of all layers together where they lie on one device."""
        for device in {state.device for _, state, _ in self._edits}:
            layers, states, outputs = zip(*(each for each in self._edits if each[1].device == device), strict=True)
            before = torch.stack(outputs)
            change = (torch.stack(states) - before).norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12)
            self._sums.add_layers("share", layers, change)
        self._edits = []
        self._sums.settle()

    def no_effect_reason(self) -> str | None:
        """Why no state was changed."""
        return None if self._strength == 0 else "the cell left every state as it was"

    def report(self) -> dict[str, Any]:
        """Mean gate and relative norm of the edit for each layer, and whether the state stagnates."""
        self._settle()
        means = {name: self._per_row(name, self._cell.config.hidden_size) for name in self._names}
        taken = (means.get("correction") or means.get("update_gate") or {}).values()
        return {
            "gate_means_per_layer": means,
            "edit_share_per_layer": self._per_row("share", 1),
            "stagnant": bool(taken) and max(taken) < STAGNANT,
        }

    def _per_row(self, name: str, size: int) -> dict[str, float]:
        return {str(layer): value / self._rows[layer] / size for layer, value in self._sums.by_layer(name).items()}


def _name_of(model: Any) -> str:
    """The model's name for a command line; a placeholder where it has none but a path such as "."."""
    name = str(getattr(model, "name_or_path", "") or "")
    return name if name.strip("./") else "YOUR_MODEL"


def _folder(cell: str | Path) -> Path:
    return Path(str(files("lvlmscope"))) / "tiny" / "hallurnn" if cell == "tiny" else Path(cell)
