"""CLVA: against its slow twin, by hand, and bad parameters."""

import pytest
import torch

from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import CLVA
from lvlmscope.runtime.attachment import attach
from tests.reference import clva as twin
from tests.reference import decoder
from tests.support import tiny_models
from tests.support.started_sessions import STEPS, layer_rows, session, traced

BANDS = ({0, 1}, {3}, {5, 6, 7})
BY_NUMBER = {"initial": (0, 1), "middle": (3,), "deep": (5, 6, 7)}


@pytest.mark.parametrize(
    "intervention",
    [
        CLVA(**BY_NUMBER),
        CLVA(**BY_NUMBER, update="logit", beta=0.0, alpha=2.0),
        CLVA(**BY_NUMBER, update="add", alpha=0.0),
        CLVA(**BY_NUMBER, heads="sensitive", fraction=0.5),
    ],
)
def test_agrees_with_its_twin(intervention: CLVA) -> None:
    case = tiny_models.llava(layers=8)
    found = traced(case, intervention)
    image = case.image_mask[0].nonzero().flatten().tolist()
    first = found.prompt_length - 1
    options = {name: getattr(intervention, name) for name in ("alpha", "beta", "update", "heads", "fraction")}
    anchors = {row: twin.Anchors(image, BANDS, **options) for row in range(first, first + STEPS)}
    expected = decoder.answer_log_probs(
        case.model, case.inputs, found.answer_ids, lambda layer, row, w, _: anchors[row].edit(layer, w)
    )
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    assert set(found.effects[0]["edited_heads_per_layer"]) <= {"5", "6", "7"}
    assert found.effects[0]["changed"]


def test_deep_layers_move_towards_the_anchor_and_keep_the_image_mass() -> None:
    started = session(CLVA(alpha=1.0, beta=1.0), 3)
    assert started.edit_attention(layer_rows(0, [[0.8, 0.2, 0.0, 0.0], [0.2, 0.4, 0.4, 0.0], [0.0, 1.0, 0, 0]])) is None
    assert started.edit_attention(layer_rows(1, [[0.9, 0.1, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.9, 0.1, 0, 0]])) is None
    edited = started.edit_attention(layer_rows(2, [[0.2, 0.4, 0.4, 0.0], [1.0, 0.0, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0]]))
    assert edited is not None
    # Neg is patch 0, Pos patch 1: [p + Pos - Neg]+ is (0, 1.5) in the first head and (0, 1) in the last
    expected = [[0.2, 0.0, 0.8, 0.0], [1.0, 0.0, 0.0, 0.0], [0.6, 0.0, 0.4, 0.0]]
    torch.testing.assert_close(edited[0, 0], torch.tensor(expected))


def test_an_empty_bracket_leaves_the_row() -> None:
    started = session(CLVA(alpha=0.0, beta=1.0), 3)
    onto_first = [[0.5, 0.5, 0.0, 0.0]] * 3
    assert started.edit_attention(layer_rows(0, onto_first)) is None
    assert started.edit_attention(layer_rows(1, onto_first)) is None
    edited = started.edit_attention(layer_rows(2, onto_first))
    assert edited is not None
    torch.testing.assert_close(edited[0, 0], torch.tensor(onto_first))


def test_an_image_key_outside_a_layers_window_gets_nothing() -> None:
    started = session(CLVA(), 3)
    for layer in (0, 1):
        started.edit_attention(layer_rows(layer, [[0.4, 0.3, 0.3, 0.0]] * 3))
    visible = torch.tensor([[[False, False, True, True]]])
    edited = started.edit_attention(layer_rows(2, [[0.0, 0.0, 0.5, 0.5]] * 3, visible_keys=visible))
    assert edited is not None
    torch.testing.assert_close(edited[0, 0], torch.tensor([[0.0, 0.0, 0.5, 0.5]] * 3))


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused_before_anything_runs() -> None:
    with pytest.raises(ModelInputError, match="alpha=-1"):
        CLVA(alpha=-1)
    with pytest.raises(ModelInputError, match=r"fraction=0\.7"):
        CLVA(fraction=0.7)
    with pytest.raises(ModelInputError, match="update='replace'"):
        CLVA(update="replace")  # type: ignore[arg-type]
    case = tiny_models.llava()
    before = tiny_models.footprint(case.model)
    with pytest.raises(ModelInputError, match="deep layers after all layers of the anchors"):
        attach(case.model, CLVA(deep=(1,)))
    assert tiny_models.footprint(case.model) == before


@pytest.mark.parametrize("update", ["redistribute", "logit", "add"])
@pytest.mark.parametrize("heads", ["all", "sensitive"])
def test_rows_stay_distributions_and_earlier_layers_untouched(update: str, heads: str) -> None:
    case = tiny_models.llava(layers=6)
    found = traced(case, CLVA(initial=[0], middle=[2], deep=[5], update=update, heads=heads))
    plain = traced(case, CLVA(alpha=0.0, beta=0.0))
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(STEPS, 6, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.attention[0, :5], plain.attention[0, :5], atol=1e-6, rtol=0)
    if update == "redistribute":
        mass, before = (t.rows().image_mass[0, 5] for t in (found, plain))
        torch.testing.assert_close(mass, before, atol=1e-6, rtol=0)
    changed = (found.attention[0, 5] - plain.attention[0, 5]).abs().amax(-1) > 1e-6
    assert int(changed.sum()) == (1 if heads == "sensitive" else 6)
