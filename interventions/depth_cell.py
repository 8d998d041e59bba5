"""The recurrent cell over depth: the DG-DPU and its ablations."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lvlmscope.attention.attention_rows import at_least_float32
from lvlmscope.errors import CellError, message
from lvlmscope.interventions.cell_files import CONFIG_FILE, WEIGHTS_FILE, CellConfig, read_cell, write_cell

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "CellConfig", "CellOutput", "DepthCell"]

OPEN: Final = 6.0  # sigmoid(6) = 0.998: the last gate passes the layer's output
EPS: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellOutput:
    """One step over depth.

    Attributes:
        state: v', the input of the next layer, ``[..., hidden]``.
        gates: Gate values by name, ``[..., hidden]`` in (0, 1).
    """

    state: Tensor
    gates: dict[str, Tensor]


class _Product(nn.Module):
    """``W x``, whole or as ``A (B x)``."""

    def __init__(self, size: int, rank: int | None) -> None:
        super().__init__()
        # Small, so that the gates start at their biases; B starts as a random projection, A near zero
        if rank is None:
            self.whole = nn.Parameter(torch.randn(size, size) * (0.02 / size**0.5))
        else:
            self.left = nn.Parameter(torch.randn(size, rank) * (0.02 / rank**0.5))
            self.right = nn.Parameter(torch.randn(rank, size) / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The product over the last axis."""
        if hasattr(self, "whole"):
            return functional.linear(x, self.whole)
        return functional.linear(functional.linear(x, self.right), self.left)


class DepthCell(nn.Module):
    """Dual-gated depth propagation unit, our reading of arXiv 2506.17587; one cell serves all layers.

    With v the residual stream before a decoder layer, m the one after it, ``delta = m - v``, and ``x^`` for x divided
    by its root mean square:

    - constraint gate ``c = sigmoid(W_c delta^ + U_c v^ + b_c)``, stabilised state ``s = v + c delta``;
    - correction gate ``k = sigmoid(W_k m^ + U_k s^ + b_k)``, ``v' = k m + (1 - k) s``.

    With the constraint gate alone ``v' = s``; with the correction gate alone ``s = v``. So the unit damps, channel by
    channel, what a layer adds: ``v' = m - (1 - k) (1 - c) delta``.

    With ``weighting="confidence"`` a gate g acts as ``1 - |2 g - 1| (1 - g)``: weighted by its distance from undecided,
    1/2, where it leaves what the layer gave. This is our own, without parameters; whether it helps is not measured yet.

    The paper's ablation, ``cell="gru"``, is the standard GRU (Chung et al., arXiv 1412.3555) with input m and state v:
    ``z = sigmoid(W_z m + U_z v + b_z)``, ``r`` alike, ``h = tanh(W_h m + U_h (r v) + b_h)``, ``v' = z h + (1 - z) v``.
    Its candidate is bounded by the tanh, so that it cannot be near identity on a residual stream. ``"residual_gru"`` is
    our variant that can: normalised inputs, and ``h = m + tanh(W_h m^ + U_h (r v^) + b_h)``.

    All but the standard GRU start near identity: small matrices, ``b_k = 6`` and ``b_c = 2`` (6 where it is the only
    gate), ``b_z = 6``. The standard GRU starts with small matrices and biases of 0. Everything is computed in float32,
    in float64 on a float64 stream.
    """

    def __init__(self, config: CellConfig, *, seed: int = 0, bias: float | None = None) -> None:
        """Make a cell, near identity unless it is a standard GRU.

        Args:
            config: Size and options.
            seed: Seed of the small random matrices; torch's own generator is left alone.
            bias: Initial bias of the last gate; None for 6, in a standard GRU 0. 6 is near identity, but there a gate
                hardly moves: with a lower one, such as 1, the cell starts by damping every layer a little, and learns
                in fewer steps.
        """
        super().__init__()
        if bias is None:
            bias = 0.0 if config.cell == "gru" else OPEN
        if not math.isfinite(bias):
            raise CellError(message(f"bias={bias}", "a finite number", "choose one", task="make a cell"))
        self.config = config
        first = min(bias, 2.0) if config.gates == "dual" else bias
        biases = {"correction": bias, "update_gate": bias, "constraint": first}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.new = nn.ModuleDict({n: _Product(config.hidden_size, config.rank) for n in config.inputs})
            self.old = nn.ModuleDict({n: _Product(config.hidden_size, config.rank) for n in config.inputs})
        self.bias = nn.ParameterDict(
            {n: nn.Parameter(torch.full((config.hidden_size,), float(biases.get(n, 0.0)))) for n in config.inputs}
        )

    def __str__(self) -> str:
        """The options: how an intervention with this cell is described."""
        return str(self.config)

    def forward(self, before: Tensor, after: Tensor) -> CellOutput:
        """One step over depth.

        Args:
            before: v, the residual stream before the layer, ``[..., hidden]``.
            after: m, the residual stream after it.

        Returns:
            The new state and the gates, float32 (float64 for float64).
        """
        v, m = at_least_float32(before), at_least_float32(after)
        if self.config.cell != "dgdpu":
            return self._gru(v, m)
        gates, state, delta = {}, v, m - v
        if "constraint" in self.new:
            gates["constraint"] = self._gate("constraint", delta, v)
            state = v + gates["constraint"] * delta
        if "correction" in self.new:
            gates["correction"] = self._gate("correction", m, state)
            state = gates["correction"] * m + (1 - gates["correction"]) * state
        return CellOutput(state=state, gates=gates)

    def _gru(self, v: Tensor, m: Tensor) -> CellOutput:
        residual = self.config.cell == "residual_gru"
        new, old = (_normalised(m), _normalised(v)) if residual else (m, v)
        update, reset = (torch.sigmoid(self._sum(name, new, old)) for name in ("update_gate", "reset_gate"))
        candidate = torch.tanh(self._sum("candidate", new, reset * old))
        candidate = m + candidate if residual else candidate
        return CellOutput(
            state=update * candidate + (1 - update) * v, gates={"update_gate": update, "reset_gate": reset}
        )

    def _gate(self, name: str, new: Tensor, old: Tensor) -> Tensor:
        gate = torch.sigmoid(self._sum(name, _normalised(new), _normalised(old)))
        return gate if self.config.weighting is None else 1 - (2 * gate - 1).abs() * (1 - gate)

    def _sum(self, name: str, new: Tensor, old: Tensor) -> Tensor:
        # Under autocast the products are in half precision; gates so close to 1 need the full one
        total: Tensor = self.new[name](new) + self.old[name](old)
        bias: Tensor = self.bias[name]
        return total.to(new.dtype) + bias

    def save(
        self, folder: str | Path, *, dtype: torch.dtype | None = None, notes: dict[str, Any] | None = None
    ) -> None:
        """Write ``cell.json`` and ``cell.safetensors``.

        Args:
            folder: Created where it does not exist.
            dtype: Of the file; the parameters' own when None.
            notes: JSON values kept beside the configuration, such as the model it was trained in.
        """
        tensors = {n: t.detach().to("cpu", dtype or t.dtype).contiguous() for n, t in self.state_dict().items()}
        write_cell(folder, self.config, tensors, notes or {})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a cell, in float32 and frozen.

        Args:
            folder: What ``save`` wrote.

        Returns:
            The cell.

        Raises:
            CellError: No cell there, of a newer format, or files that do not belong together.
        """
        config, tensors = read_cell(folder)
        cell = cls(config)
        try:
            cell.load_state_dict(tensors)
        except RuntimeError as error:
            got, expected = " ".join(str(error).split())[:160], f"{WEIGHTS_FILE} of the cell in {CONFIG_FILE}"
            fix = "copy both files together"
            raise CellError(message(got, expected, fix, task=f"load a cell from {folder}")) from error
        return cell.float().requires_grad_(False)


def _normalised(x: Tensor) -> Tensor:
    """``x`` divided by its root mean square over the channels."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)
