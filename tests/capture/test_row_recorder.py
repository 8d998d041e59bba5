"""What a replay keeps of rows, gradients and streams, without a model."""

from typing import Any

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.capture.options import KeyFilter
from lvlmscope.capture.row_recorder import RowRecorder
from lvlmscope.errors import ReplayError

IMAGE = torch.tensor([[[False, True, True, False]]])


def rows(layer: int, *, graph: bool = False, visible: torch.Tensor | None = None, **options: Any) -> AttentionRows:
    weights = torch.full((1, 2, 3, 4), 0.25).requires_grad_(graph)
    scores = torch.arange(24.0).reshape(1, 2, 3, 4)
    if visible is not None:
        scores = scores.masked_fill(~visible.unsqueeze(-2), float("-inf"))
    return AttentionRows(weights, IMAGE, layer=layer, visible_keys=visible, scores=lambda: scores, **options)


def recorder(**options: Any) -> RowRecorder:
    chosen = {"differentiable": False, "wants_hidden": False, "lowest_only": False} | options
    return RowRecorder(KeyFilter(), **chosen)


@pytest.mark.parametrize(("lowest_only", "held"), [(False, {0, 1, 2}), (True, {0})])
def test_which_layers_hold_the_graph(lowest_only: bool, held: set[int]) -> None:
    found = recorder(differentiable=True, lowest_only=lowest_only)
    recorded = [rows(layer, graph=True) for layer in range(3)]
    for each in recorded:
        found.record_rows(each.own_layer, each)
    assert set(found.leaves) == held
    assert set(found.rows) == {0, 1, 2}
    torch.stack([each.weights for each in recorded]).sum().backward()
    assert set(found.gradients) == {0, 1, 2} - held  # the others come by hooks


def test_rows_without_a_graph_are_refused_only_where_gradients_are_wanted() -> None:
    with pytest.raises(ReplayError, match="layer 0 outside the graph"):
        recorder(differentiable=True).record_rows(0, rows(0))
    plain = recorder()
    plain.record_rows(0, rows(0))
    assert plain.leaves == {}


def test_a_second_visit_changes_nothing() -> None:
    found = recorder()
    found.record_rows(1, rows(1))
    first = found.rows[1]
    found.record_rows(1, rows(1))
    assert found.rows[1] is first


def test_gradients_at_keys_that_a_row_may_not_see_are_not_kept() -> None:
    visible = torch.tensor([[[True, True, False, False], [True, True, True, False]]])
    found = recorder()
    found.record_rows(0, rows(0, visible=visible))
    found.keep_gradient(0, torch.ones(1, 2, 3, 4))
    assert found.gradients[0].tolist() == [[[[1, 1, 0, 0]] * 3, [[1, 1, 1, 0]] * 3]]
    assert found.seen_keys(0).tolist() == [[True, True, True, False]]
    unmasked = recorder()
    unmasked.record_rows(0, rows(0))
    assert unmasked.seen_keys(0).tolist() == [[True] * 4]


@pytest.mark.parametrize("options", [{}, {"image_span": (1, 3)}])
@pytest.mark.parametrize("hides", [False, True])
def test_scores_of_the_image_keys_that_a_row_sees_are_summed(options: dict[str, Any], hides: bool) -> None:
    visible = torch.tensor([[[True, True, False, True], [True, True, True, True]]]) if hides else None
    found = recorder()
    found.record_rows(0, rows(0, visible=visible, sees_all_keys=not hides, **options))
    full = torch.arange(24.0).reshape(2, 3, 4)
    expected = full[..., 1:3].sum(-1)
    if hides:
        expected[0] = full[0, :, 1]
    assert found.image_scores[0][0].tolist() == expected.tolist()


def test_the_stream_is_kept_by_layer_in_float32() -> None:
    found = recorder(wants_hidden=True)
    found.record_hidden(-1, torch.ones(1, 2, 3, dtype=torch.bfloat16, requires_grad=True))
    assert found.hidden[-1].dtype == torch.float32
    assert not found.hidden[-1].requires_grad
