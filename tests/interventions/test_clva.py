"""CLVA: against its slow twin, by hand, and bad parameters."""

import math
import re
from typing import Any

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import CLVA
from lvlmscope.interventions.clva import _peaking_at_one, _updated_by_mask
from lvlmscope.runtime.attachment import attach, intervene
from lvlmscope.runtime.protocol import ForwardInfo
from tests.reference import clva as twin
from tests.reference import decoder
from tests.support import tiny_models
from tests.support.started_sessions import OPTIONS, STEPS, layer_rows, session, traced
from tests.support.tiny_others import OTHERS
from tests.support.tiny_variants import VARIANTS
from tests.support.traced import from_inputs

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


def test_an_anchor_peaks_at_one_and_one_of_zeros_stays() -> None:
    anchor = torch.tensor([[0.25, 0.5, 0.0], [0.0, 0.0, 0.0]])
    assert _peaking_at_one(anchor).tolist() == [[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]


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


def test_anchors_of_layers_with_other_key_axes_meet_at_their_positions() -> None:
    started = session(CLVA(initial=[0], middle=[1, 2], deep=[3], alpha=1.0, beta=0.0), 4)
    flat = [[0.4, 0.3, 0.3, 0.0]] * 3
    assert started.edit_attention(layer_rows(0, flat)) is None
    # All keys, then a window's last two, of which one is patch 1: the sum keeps patch 0
    assert started.edit_attention(layer_rows(1, [[0.0, 1.0, 0.0, 0.0]] * 3)) is None
    window = AttentionRows(torch.tensor([[[[1.0, 0.0]] * 3]]), torch.tensor([[[True, False]]]), layer=2)
    assert started.edit_attention(window) is None
    edited = started.edit_attention(layer_rows(3, [[0.0, 0.5, 0.5, 0.0]] * 3))
    assert edited is not None
    # Pos is a half on each patch, so that an even head stays
    torch.testing.assert_close(edited[0, 0], torch.tensor([[0.0, 0.5, 0.5, 0.0]] * 3))


def test_a_static_caches_spare_keys_come_last() -> None:
    started = session(CLVA(initial=[0], middle=[1], deep=[2], alpha=1.0, beta=0.0), 3)
    image = torch.tensor([[[False, True, True, False, False, False]]])
    for layer, weights in ((0, [0.4, 0.3, 0.3]), (1, [0.0, 1.0, 0.0])):
        row = torch.tensor([[[weights + [0.0] * 3] * 3]])
        assert started.edit_attention(AttentionRows(row, image, layer=layer)) is None
    edited = started.edit_attention(layer_rows(2, [[0.0, 0.5, 0.5, 0.0]] * 3))
    assert edited is not None
    torch.testing.assert_close(edited[0, 0], torch.tensor([[0.0, 0.75, 0.25, 0.0]] * 3))


@pytest.mark.parametrize("bands", [{"middle": [2, 3], "deep": [4, 5]}, {"middle": [1], "deep": [2, 3, 4, 5]}])
def test_windows_give_the_same_logits_with_and_without_a_cache(bands: dict[str, Any]) -> None:
    case = VARIANTS["gemma3_deep"]()
    intervention = CLVA(initial=[0], **bands, alpha=2.0, beta=1.0)
    options = OPTIONS | {"return_dict_in_generate": True, "output_logits": True}
    with intervene(case.model, intervention) as handle:
        cached, whole, static = (
            case.model.generate(**case.inputs, **options, **cache)
            for cache in ({}, {"use_cache": False}, {"cache_implementation": "static"})
        )
    assert handle.report()[0]["changed"]
    for other in (whole, static):
        for one, two in zip(cached.logits, other.logits, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    found = from_inputs(case.model, case.inputs, interventions=[intervention], **OPTIONS)
    assert found.provenance["replay"]["difference"] < 1e-4


@pytest.mark.parametrize("name", ["qwen3_5", "lfm2_vl"])
def test_bands_count_the_layers_that_have_attention(name: str) -> None:
    case = OTHERS[name]()
    with intervene(case.model, CLVA()) as handle:  # initial and middle are layer 1, deep is layer 3
        case.model.generate(**case.inputs, **OPTIONS)
    assert set(handle.report()[0]["edited_heads_per_layer"]) == {"3"}
    with pytest.raises(
        ModelInputError, match=r"initial \[0\] without attention; expected: layers that have it: \[1, 3\]"
    ):
        attach(case.model, CLVA(initial=[0]))


def test_the_logit_update_acts_with_576_image_keys() -> None:
    image = torch.zeros(1, 578, dtype=torch.bool)
    image[:, 1:577] = True
    started = session(CLVA(update="logit", alpha=0.5, beta=0.0, initial=[0], middle=[1], deep=[2]), 3)
    started.begin_forward(
        ForwardInfo(
            token_ids=torch.zeros(1, 578, dtype=torch.int64),
            image_keys=image,
            prompt_length=578,
            past_length=0,
            first_row=577,
            num_queries=578,
        )
    )
    even = torch.full((1, 1, 3, 578), 1 / 578)
    peaked = even.clone()
    peaked[..., 7] *= 2  # a peak of twice the other image keys
    for layer, weights in ((0, even), (1, peaked)):
        assert started.edit_attention(AttentionRows(weights, image[:, None], layer=layer)) is None
    edited = started.edit_attention(AttentionRows(even, image[:, None], layer=2))
    assert edited is not None
    # Scores rise by alpha at the peak and by alpha / 2 at the other image keys
    torch.testing.assert_close(edited[..., 7] / edited[..., 8], torch.full((1, 1, 3), math.exp(0.25)))


def test_what_kept_it_from_acting_is_said() -> None:
    blind, onto_first = [[0.0, 0.0, 0.0, 1.0]] * 3, [[0.5, 0.5, 0.0, 0.0]] * 3
    walks = {
        "in its deep layers \\(2\\) no predicting row attends": (onto_first, onto_first, blind),
        "initial \\(0\\) and middle \\(1\\) layers gave no anchor": (blind, blind, onto_first),
        "the anchors left the rows": (onto_first, onto_first, onto_first),
    }
    for told, weights in walks.items():
        started = session(CLVA(), 3)
        for layer, each in enumerate(weights):
            started.edit_attention(layer_rows(layer, each))
        assert re.search(told, started.no_effect_reason() or "")


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


def test_each_row_is_edited_on_image_keys_of_its_own() -> None:
    weights = torch.tensor([[[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]], [[0.1, 0.1, 0.8], [0.5, 0.3, 0.2]]])[None]
    image = torch.tensor([[[True, True, False], [False, True, True]]])  # [batch, row, key]
    pull = torch.tensor([[[[0.4, -0.9, 7.0]], [[7.0, 0.2, 0.1]]]])
    found = _updated_by_mask(AttentionRows(weights, image, layer=0), pull, "redistribute")
    for row in range(2):
        for head in range(2):
            own, keys = weights[0, row, head], image[0, row]
            mass = own[keys].sum()
            bracket = (own[keys] / mass + pull[0, row, 0][keys]).clamp_min(0)
            expected = own.clone()
            expected[keys] = mass * bracket / bracket.sum()
            torch.testing.assert_close(found[0, row, head], expected)
