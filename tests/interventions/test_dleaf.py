"""D-LEAF: against its slow twin, by hand, and bad parameters."""

from typing import Any

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.attention.entropy_threshold_rule import RunningThreshold
from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import DLEAF
from lvlmscope.interventions.dleaf import _interpolated_above
from lvlmscope.runtime.attachment import attach, intervene
from lvlmscope.runtime.protocol import Session
from tests.reference import decoder
from tests.reference import dleaf as twin
from tests.support import tiny_models
from tests.support.started_sessions import OPTIONS, STEPS, layer_rows, session, traced


def leaves(started: Session, rows: AttentionRows) -> bool:
    """Whether a session leaves rows as they are, to the last bit."""
    edited = started.edit_attention(rows)
    return edited is None or torch.equal(edited, rows.weights)


@pytest.mark.parametrize(
    "intervention",
    [
        DLEAF(),
        DLEAF(gamma=0.4, threshold="max"),
        DLEAF(threshold="mean", heads="all"),
        DLEAF(heads=2, gamma=1.0),
        DLEAF(layers=[1, 2, 4]),
    ],
)
def test_agrees_with_its_twin(intervention: DLEAF) -> None:
    case = tiny_models.llava(layers=5)
    found = traced(case, intervention)
    ids = torch.cat([case.inputs["input_ids"][0], found.answer_ids[:-1]])
    embeds = decoder.embeddings(case.model, ids, case.inputs["pixel_values"])
    layers = set(range(5)) if intervention.layers == (0.0, 1.0) else set(intervention.layers or ())
    image = case.image_mask[0].nonzero().flatten().tolist()
    walks = {
        row: twin.Walk(
            image, gamma=intervention.gamma, layers=layers, threshold=intervention.threshold, heads=intervention.heads
        )
        for row in range(len(ids) - STEPS, len(ids))
    }
    first = found.prompt_length - 1
    logits = decoder.logits(case.model, embeds, first, lambda layer, row, w, _: walks[row].edit(layer, w))
    expected = torch.log_softmax(logits, -1).gather(-1, found.answer_ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    flagged = sum(len(walk.flagged) for walk in walks.values())
    assert sum(found.effects[0]["flagged_rows_per_layer"].values()) == flagged
    assert found.effects[0]["flagged_share"] == pytest.approx(flagged / (STEPS * len(layers)))


@torch.no_grad()
def test_the_edit_that_is_compiled_borrows_in_the_flagged_rows_alone() -> None:
    """Two samples of three rows and four heads; the middle rows look all over the image, the others at one token."""
    weights = torch.zeros(2, 3, 4, 5)
    weights[..., 0], weights[..., 1] = 0.6, torch.tensor([0.1, 0.2, 0.3, 0.4])
    weights[:, 1, :, 1:] = weights[:, 1, :, 1:2].clone() / 4
    weights[..., 0] = 1 - weights[..., 1:].sum(-1)
    image = torch.tensor([False, True, True, True, True]).expand(2, 1, 5)
    rows = AttentionRows(weights, image, layer=1, image_span=(1, 5))
    above = _interpolated_above(rows, torch.full((2, 3), 0.5), compiled=False, gamma=0.5, heads="all")[0]
    assert torch.equal(above[:, [0, 2]], weights[:, [0, 2]])
    expected = (weights[:, 1] + weights[:, 1, 3:]) / 2  # halfway to the head that gives the image most
    torch.testing.assert_close(above[:, 1], expected)


def test_a_spread_out_layer_borrows_the_focused_heads_map() -> None:
    started = session(DLEAF(gamma=0.5), 3)
    sharp = [[0.5, 0.5, 0.0, 0.0]] * 3
    spread = [[0.2, 0.4, 0.4, 0.0], [0.9, 0.05, 0.05, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert leaves(started, layer_rows(0, sharp))
    edited = started.edit_attention(layer_rows(1, spread))
    assert edited is not None
    expected = [[0.2, 0.4, 0.4, 0.0], [0.55, 0.225, 0.225, 0.0], [0.6, 0.2, 0.2, 0.0]]
    torch.testing.assert_close(edited[0, 0], torch.tensor(expected))
    assert leaves(started, layer_rows(2, sharp))
    assert started.report() == {
        "saw_image": True,
        "flagged_share": pytest.approx(1 / 3),
        "flagged_rows_per_layer": {"1": 1},
        "edited_heads_per_flagged_row": 2.0,
    }


def test_a_layer_blind_to_the_image_is_left_alone() -> None:
    started = session(DLEAF(), 2)
    assert leaves(started, layer_rows(0, [[0.5, 0.5, 0.0, 0.0]] * 3))
    assert leaves(started, layer_rows(1, [[1.0, 0.0, 0.0, 0.0]] * 3))


@pytest.mark.parametrize("threshold", ["min", "max", "mean"])
def test_a_layer_that_sees_no_image_key_neither_flags_nor_enters_the_threshold(threshold: Any) -> None:
    started = session(DLEAF(threshold=threshold), 5)
    blind, sharp = [[1.0, 0.0, 0.0, 0.0]] * 3, [[0.5, 0.5, 0.0, 0.0]] * 3
    half = [[0.2, 0.6, 0.2, 0.0]] * 3
    spread = [[0.2, 0.4, 0.4, 0.0], [0.9, 0.05, 0.05, 0.0], [1.0, 0.0, 0.0, 0.0]]
    for number, weights in enumerate((blind, half, blind, sharp)):
        assert leaves(started, layer_rows(number, weights))
    # The mean is over the two that see the image: half of 0.562, not a third
    assert started.edit_attention(layer_rows(4, spread)) is not None
    assert started.report()["flagged_rows_per_layer"] == {"4": 1}


def test_a_mean_counts_the_layers_that_each_row_sees() -> None:
    level = RunningThreshold("mean")
    nan = float("nan")
    walk = [[nan, 1.0], [1.0, nan], [nan, nan], [2.0, 3.0], [1.4, 2.1]]
    flags = [level.flag(torch.tensor(entropies)).tolist() for entropies in walk]
    # Means before the last layer: 1.5 of (1, 2) and 2 of (1, 3)
    assert flags == [[False, False], [False, False], [False, False], [True, True], [False, True]]


def test_equal_entropies_that_differ_by_rounding_flag_nothing() -> None:
    level = RunningThreshold("min")
    ties = [[4.0, 4.0], [4.0 + 2e-6, 4.0 + 5e-4], [4.0 + 9e-5, 4.0]]
    flags = [level.flag(torch.tensor(entropies)).tolist() for entropies in ties]
    assert flags == [[False, False], [False, True], [False, False]]


def test_one_image_key_has_no_entropy_to_compare() -> None:
    started = session(DLEAF(), 6)
    torch.manual_seed(0)
    one = torch.tensor([[False, True, False, False]])
    for number in range(6):
        rows = AttentionRows(torch.rand(1, 1, 3, 4).softmax(-1), one[:, None], layer=number)
        assert leaves(started, rows)


def test_layers_past_the_image_are_named_in_the_warning() -> None:
    started = session(DLEAF(layers=[0, 1]), 2)
    for number in (0, 1):
        assert leaves(started, layer_rows(number, [[1.0, 0.0, 0.0, 0.0]] * 3))
    reason = started.no_effect_reason()
    assert reason == "in the layers it walks (0, 1) no predicting row attends to an image key"


def test_without_an_image_it_warns_once_and_changes_nothing() -> None:
    case = tiny_models.llava()
    text = {"input_ids": torch.randint(5, 190, (1, 8)), "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    plain = case.model.generate(**text, **OPTIONS)
    warned = pytest.warns(UserWarning, match="DLEAF does nothing: the prompt holds no image")
    with warned as caught, intervene(case.model, DLEAF()) as handle:
        edited = case.model.generate(**text, **OPTIONS)
    assert len(caught) == 1
    assert torch.equal(plain, edited)
    assert not handle.report()[0]["changed"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused_before_anything_runs() -> None:
    with pytest.raises(ModelInputError, match=r"gamma=1\.5"):
        DLEAF(gamma=1.5)
    with pytest.raises(ModelInputError, match="threshold='median'"):
        DLEAF(threshold="median")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="heads=0"):
        DLEAF(heads=0)
    case = tiny_models.llava()
    before = tiny_models.footprint(case.model)
    with pytest.raises(ModelInputError, match="ints from -3 to 2"):
        attach(case.model, DLEAF(layers=[7]))
    assert tiny_models.footprint(case.model) == before
