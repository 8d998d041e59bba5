"""LocoRE: against its slow twin, by hand, and bad parameters."""

from typing import Any

import pytest
import torch

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.interventions import LocoRE
from lvlmscope.interventions.locore import _Window
from lvlmscope.runtime.attachment import intervene
from tests.reference import decoder
from tests.reference import locore as twin
from tests.support import tiny_models
from tests.support.started_sessions import OPTIONS, layer_rows, session, traced
from tests.support.tiny_variants import VARIANTS

PAPER: dict[str, Any] = {"keys": "after_image", "own_key": False}  # eq. 8


@pytest.mark.parametrize(
    "intervention",
    [
        LocoRE(),
        LocoRE(mode="renorm", beta=0.5, window=2),
        LocoRE(mode="renorm", beta=-0.5, window=2),
        LocoRE(mode="raw", beta=-1.0, window=3),
        LocoRE(mode="raw", window=1, layers=[1]),
        LocoRE(**PAPER, mode="raw"),
        LocoRE(**PAPER, window=20),  # no further back than the image
        LocoRE(keys="after_image", window=3),
        LocoRE(own_key=False, window=2),
    ],
)
def test_agrees_with_its_twin(intervention: LocoRE) -> None:
    case = tiny_models.llava()
    found = traced(case, intervention)
    prompt = found.prompt_length
    layers = {0, 1, 2} if intervention.layers is None else set(intervention.layers)
    first = prompt if intervention.keys == "answer" else int(case.image_mask[0].nonzero().max()) + 1
    edited = 0

    def edit(layer: int, row: int, weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        nonlocal edited
        window = twin.window(row, first, length=intervention.window, own_key=intervention.own_key)
        edited += 6 if window and layer in layers else 0
        if layer not in layers or not window:
            return weights
        return twin.edit(weights, scores, window, beta=intervention.beta, mode=intervention.mode)

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    effect = found.effects[0]
    assert (effect["window_mass_after"] > effect["window_mass_before"]) == (intervention.beta > 0)
    assert effect["edited_heads"] == edited


def answer(*keys: bool) -> torch.Tensor:
    return torch.tensor([[keys]])


def test_only_the_last_words_gain() -> None:
    started = session(LocoRE(mode="raw", beta=1.0, window=1), 2, prompt_length=2)
    weights = [[0.4, 0.2, 0.2, 0.2]] * 3
    edited = started.edit_attention(layer_rows(0, weights, answer_keys=answer(False, False, True, True)))
    assert edited is not None
    torch.testing.assert_close(edited[0, 0], torch.tensor([[0.4, 0.2, 0.2, 0.4]] * 3))
    assert started.report() == {"window_mass_before": pytest.approx(0.2), "window_mass_after": pytest.approx(0.4)}


def test_a_one_word_answer_is_edited_by_the_papers_keys_alone() -> None:
    case = tiny_models.llava()
    options = OPTIONS | {"max_new_tokens": 1, "return_dict_in_generate": True, "output_logits": True}
    plain = case.model.generate(**case.inputs, **options).logits[0]
    with intervene(case.model, LocoRE(**PAPER)) as handle:
        edited = case.model.generate(**case.inputs, **options).logits[0]
    assert not torch.equal(plain, edited)
    assert handle.report()[0]["edited_heads"] == 3 * 6
    told = pytest.warns(UserWarning, match="keys='after_image' acts on the first word of an answer, too")
    with told, intervene(case.model, LocoRE()):
        same = case.model.generate(**case.inputs, **options).logits[0]
    assert torch.equal(plain, same)


def test_the_papers_keys_need_an_image_to_come_after() -> None:
    case = tiny_models.llava()
    text = {"input_ids": torch.randint(5, 190, (1, 8)), "attention_mask": torch.ones(1, 8, dtype=torch.int64)}
    plain = case.model.generate(**text, **OPTIONS)
    told = pytest.warns(UserWarning, match="LocoRE with keys='after_image' does nothing: the prompt holds no image")
    with told as caught, intervene(case.model, LocoRE(**PAPER)):
        assert torch.equal(plain, case.model.generate(**text, **OPTIONS))
    assert len(caught) == 1


@pytest.mark.parametrize("name", ["gemma3_deep", "gemma2"])
def test_windows_with_and_without_a_cache_agree(name: str) -> None:
    case = VARIANTS[name]()
    options = OPTIONS | {"return_dict_in_generate": True, "output_logits": True}
    with intervene(case.model, LocoRE(**PAPER, beta=0.5, window=15)):
        cached = case.model.generate(**case.inputs, **options).logits
        whole = case.model.generate(**case.inputs, **options, use_cache=False).logits
    for one, two in zip(cached, whole, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, PAPER])
def test_a_layer_that_crosses_to_as_many_image_keys_as_there_are_positions_is_left(options: dict[str, Any]) -> None:
    started = session(LocoRE(**options), 2, prompt_length=3)
    weights = torch.full((1, 1, 3, 4), 0.25)
    own = {"answer_keys": answer(False, False, False, True), "scores": weights.log}
    assert started.edit_attention(layer_rows(0, weights[0, 0].tolist(), **own)) is not None
    image = torch.ones(1, 1, 4, dtype=torch.bool)
    none = {"answer_keys": ~image, "scores": weights.log}
    assert started.edit_attention(AttentionRows(weights, image, layer=1, **none)) is None


def test_before_the_first_word_nothing_happens() -> None:
    started = session(LocoRE(), 2)
    rows = layer_rows(0, [[0.4, 0.2, 0.2, 0.2]] * 3, answer_keys=answer(False, False, False, False))
    assert started.edit_attention(rows) is None
    assert started.report() == {"window_mass_before": 0.0, "window_mass_after": 0.0}


def test_a_large_score_does_not_overflow() -> None:
    started = session(LocoRE(beta=5.0), 2, prompt_length=3)
    weights = torch.tensor([[[[0.0, 0.0, 0.0, 60.0]] * 3]]).softmax(-1)
    rows = layer_rows(
        0,
        weights[0, 0].tolist(),
        answer_keys=answer(False, False, False, True),
        scores=lambda: torch.tensor([[[[0.0, 0.0, 0.0, 60.0]] * 3]]),
    )
    edited = started.edit_attention(rows)
    assert edited is not None
    torch.testing.assert_close(edited[0, 0, 0, 3], torch.tensor(1.0))


@pytest.mark.parametrize("mode", ["logit", "renorm"])
def test_a_row_keeps_its_sum_which_a_sink_outside_the_keys_lowers(mode: Any) -> None:
    scores = torch.tensor([[[[0.5, 1.0, -0.5, 2.0]] * 3]])
    weights = scores.softmax(-1) * torch.tensor([0.25, 0.5, 1.0]).view(1, 1, 3, 1)
    rows = layer_rows(0, weights[0, 0].tolist(), answer_keys=answer(False, False, False, True), scores=lambda: scores)
    edited = session(LocoRE(mode=mode), 2, prompt_length=3).edit_attention(rows)
    assert edited is not None
    torch.testing.assert_close(edited.sum(-1), weights.sum(-1))
    assert (edited[..., 3] > weights[..., 3]).all()


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"beta=-1\.1"):
        LocoRE(beta=-1.1)
    with pytest.raises(ModelInputError, match=r"beta=-0\.1 with mode='logit'; expected: mode='renorm' or 'raw'"):
        LocoRE(beta=-0.1)
    with pytest.raises(ModelInputError, match="window=-1"):
        LocoRE(window=-1)
    with pytest.raises(InterventionError, match=r"window=1\.5"):
        LocoRE(window=1.5)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="keys='question'"):
        LocoRE(keys="question")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="mode='scores'"):
        LocoRE(mode="scores")  # type: ignore[arg-type]


def test_the_mass_on_a_window_is_summed_over_keys_for_each_row_and_head() -> None:
    keys = torch.tensor([[[[True, False, True]], [[False, True, True]]]])  # two rows with keys of their own
    weights = torch.arange(1.0, 13.0).reshape(1, 2, 2, 3)
    window = _Window(keys, None, 2.0, torch.float32)
    assert window.part(weights).tolist() == [[[1 + 3, 4 + 6], [8 + 9, 11 + 12]]]
    assert window.factor.tolist() == [[[[2, 1, 2]], [[1, 2, 2]]]]
    assert window.touched.tolist() == [[[True], [True]]]
