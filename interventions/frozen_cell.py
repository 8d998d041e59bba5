"""A trained depth cell for decoding: the same formulas in fewer kernels."""

import torch
from torch import Tensor
from torch.nn import functional

from lvlmscope.interventions.depth_cell import EPS, CellOutput, DepthCell

__all__ = ["FrozenCell"]


class FrozenCell:
    """A cell with both gates and whole matrices, whose gates take one product each.

    A gate's ``W x^ + U y^ + b`` is one product of the two inputs side by side. ``x^``, x divided by its root mean
    square, is ``sqrt(d) x`` divided by the norm of x with one more channel of ``sqrt(d EPS)``, so that a norm and a
    division give it; ``sqrt(d)`` is part of the matrices. Equal to the cell up to rounding.
    """

    def __init__(self, cell: DepthCell) -> None:
        """Put the matrices side by side.

        Args:
            cell: A cell that `fits`.
        """
        size = cell.config.hidden_size
        like = cell.bias["correction"]
        self._channel = like.new_full((), (size * EPS) ** 0.5)
        self._weights: dict[str, Tensor] = {}
        self._biases: dict[str, Tensor] = {}
        for name in ("constraint", "correction"):
            both = [
                functional.pad(side.get_parameter(f"{name}.whole").detach() * size**0.5, (0, 1))
                for side in (cell.new, cell.old)
            ]
            self._weights[name] = torch.cat(both, 1).contiguous()
            self._biases[name] = cell.bias[name].detach()

    @staticmethod
    def fits(cell: DepthCell) -> bool:
        """Whether a cell is of this kind.

        Args:
            cell: Any cell.

        Returns:
            True for the dual-gated unit with whole matrices and plain gates.
        """
        config = cell.config
        return config.cell == "dgdpu" and config.gates == "dual" and config.rank is None and config.weighting is None

    def __call__(self, before: Tensor, after: Tensor) -> CellOutput:
        """One step over depth, as `DepthCell.forward`.

        Args:
            before: v ``[..., hidden]``, in the cell's precision.
            after: m ``[..., hidden]``.

        Returns:
            The new state and the gates.
        """
        delta = after - before
        constraint = self._gate("constraint", delta, before)
        state = torch.addcmul(before, constraint, delta)
        correction = self._gate("correction", after, state)
        gates = {"constraint": constraint, "correction": correction}
        return CellOutput(state=torch.lerp(state, after, correction), gates=gates)

    def _gate(self, name: str, new: Tensor, old: Tensor) -> Tensor:
        channel = self._channel.expand(*new.shape[:-1], 1)
        inputs = torch.cat([new, channel, old, channel], -1).unflatten(-1, (2, -1))
        inputs = inputs / torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
        return torch.sigmoid(functional.linear(inputs.flatten(-2), self._weights[name], self._biases[name]))
