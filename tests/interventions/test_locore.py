"""LocoRE: against its slow twin, by hand, and bad parameters."""

import pytest
import torch

from lvlmscope.errors import InterventionError, ModelInputError
from lvlmscope.interventions import LocoRE
from tests.reference import decoder
from tests.reference import locore as twin
from tests.support import tiny_models
from tests.support.started_sessions import STEPS, layer_rows, session, traced


@pytest.mark.parametrize(
    "intervention", [LocoRE(), LocoRE(mode="renorm", beta=0.5, window=2), LocoRE(mode="raw", window=1, layers=[1])]
)
def test_agrees_with_its_twin(intervention: LocoRE) -> None:
    case = tiny_models.llava()
    found = traced(case, intervention)
    prompt = found.prompt_length
    layers = {0, 1, 2} if intervention.layers is None else set(intervention.layers)

    def edit(layer: int, row: int, weights: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        window = [j for j in range(prompt, row + 1) if j > row - intervention.window]
        if layer not in layers or not window:
            return weights
        return twin.edit(weights, scores, window, beta=intervention.beta, mode=intervention.mode)

    expected = decoder.answer_log_probs(case.model, case.inputs, found.answer_ids, edit)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)
    effect = found.effects[0]
    assert effect["window_mass_after"] > effect["window_mass_before"]
    assert effect["edited_heads"] == (STEPS - 1) * len(layers) * 6


def answer(*keys: bool) -> torch.Tensor:
    return torch.tensor([[keys]])


def test_only_the_last_words_gain() -> None:
    started = session(LocoRE(mode="raw", beta=1.0, window=1), 2)
    weights = [[0.4, 0.2, 0.2, 0.2]] * 3
    edited = started.edit_attention(layer_rows(0, weights, answer_keys=answer(False, False, True, True)))
    assert edited is not None
    torch.testing.assert_close(edited[0, 0], torch.tensor([[0.4, 0.2, 0.2, 0.4]] * 3))
    assert started.report() == {"window_mass_before": pytest.approx(0.2), "window_mass_after": pytest.approx(0.4)}


def test_before_the_first_word_nothing_happens() -> None:
    started = session(LocoRE(), 2)
    rows = layer_rows(0, [[0.4, 0.2, 0.2, 0.2]] * 3, answer_keys=answer(False, False, False, False))
    assert started.edit_attention(rows) is None
    assert started.report() == {"window_mass_before": 0.0, "window_mass_after": 0.0}


def test_a_large_score_does_not_overflow() -> None:
    started = session(LocoRE(beta=5.0), 2)
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


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"beta=-0\.1"):
        LocoRE(beta=-0.1)
    with pytest.raises(ModelInputError, match="window=-1"):
        LocoRE(window=-1)
    with pytest.raises(InterventionError, match=r"window=1\.5"):
        LocoRE(window=1.5)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="mode='scores'"):
        LocoRE(mode="scores")  # type: ignore[arg-type]
