"""LocoRE and CLVA: against their slow twins, by hand, and bad parameters."""

from typing import Any

import pytest
import torch

from lvlmscope.attaching import attach
from lvlmscope.errors import ModelInputError
from lvlmscope.interventions import CLVA, LocoRE
from lvlmscope.record import Trace
from lvlmscope.sessions import Intervention
from lvlmscope.tracing import trace
from tests import tiny_models
from tests.reference import clva as clva_twin
from tests.reference import decoder
from tests.reference import locore as locore_twin

STEPS = 4
LAYERS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}


def traced(case: tiny_models.TinyCase, *remedies: Intervention) -> Trace:
    found = trace(case.model, inputs=case.inputs, interventions=remedies, **OPTIONS)
    assert isinstance(found, Trace)
    return found


def assert_equal_to(found: Trace, case: tiny_models.TinyCase, edit: decoder.Edit) -> None:
    ids = torch.cat([case.inputs["input_ids"][0], found.answer_ids[:-1]])
    embeds = decoder.embeddings(case.model, ids, case.inputs["pixel_values"])
    logits = decoder.logits(case.model, embeds, found.prompt_length - 1, edit)
    expected = torch.log_softmax(logits, -1).gather(-1, found.answer_ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_probs, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["renorm", "raw"])
@pytest.mark.parametrize("window", [1, 2, 9])
def test_locore_agrees_with_its_twin(mode: str, window: int) -> None:
    case = tiny_models.llava(layers=3)
    found = traced(case, LocoRE(beta=0.4, window=window, mode=mode))
    assert_equal_to(
        found,
        case,
        lambda _, __, w: locore_twin.edit(w, found.prompt_length, beta=0.4, window=window, mode=mode),
    )


def test_locore_on_scores_agrees_with_its_twin_row_by_row() -> None:
    case = tiny_models.llava(layers=1)  # in a single layer the scores are the untouched model's
    plain, found = traced(case), traced(case, LocoRE(beta=0.4, window=2))
    assert torch.equal(plain.answer_ids[:1], found.answer_ids[:1])
    same = trace(case.model, inputs=case.inputs, answer=found.answer_ids.tolist())
    assert isinstance(same, Trace)
    scores: list[torch.Tensor] = []

    def keep(_: int, row: int, weights: torch.Tensor) -> torch.Tensor:
        scores.append(weights)
        del row
        return weights

    assert_equal_to(same, case, keep)
    shift = same.image_scores.double() - same.attention.double().where(same.image_keys, 1.0).log().sum(-1)
    constant = shift / int(same.image_keys.sum())  # score = ln a + c, with c from the sum over the image keys
    for step in range(STEPS):
        length = found.prompt_length + step
        row = same.attention[step, 0, :, :length].double().log() + constant[step, 0].unsqueeze(-1)
        expected = locore_twin.edit_scores(row, found.prompt_length, beta=0.4, window=2)
        torch.testing.assert_close(found.attention[step, 0, :, :length], expected.float(), atol=1e-5, rtol=1e-4)
    assert len(scores) == STEPS


def test_locore_tells_the_windows_mass() -> None:
    case = tiny_models.llava()
    found = traced(case, LocoRE(beta=0.5, window=2, mode="renorm"))
    report = found.effects[0]
    assert 0 < report["window_mass_before"] < report["window_mass_after"] < 1
    assert report["edited_heads"] == 3 * 6 * (STEPS - 1)  # the first token follows no generated one


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.2), (1.0, 0.0), (0.0, 3.0)])
def test_clva_agrees_with_its_twin(alpha: float, beta: float) -> None:
    case = tiny_models.llava(layers=LAYERS)
    found = traced(case, CLVA(alpha=alpha, beta=beta, initial=[0, 1], middle=[2, 3], deep=[4, 5]))
    image = case.image_mask[0].nonzero().flatten().tolist()
    layers = ({0, 1}, {2, 3}, {4, 5})
    first = found.prompt_length - 1
    rows = {row: clva_twin.Pull(image, layers=layers, alpha=alpha, beta=beta) for row in range(first, first + STEPS)}
    assert_equal_to(found, case, lambda layer, row, w: rows[row].edit(layer, w))
    assert found.effects[0]["changed"]


@pytest.mark.parametrize("update", ["redistribute", "logit", "add"])
@pytest.mark.parametrize("heads", ["all", "sensitive"])
def test_clva_keeps_rows_distributions_and_its_promise(update: str, heads: str) -> None:
    case = tiny_models.llava(layers=LAYERS)
    plain = traced(case)
    found = traced(case, CLVA(initial=[0], middle=[2], deep=[5], update=update, heads=heads))
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(STEPS, LAYERS, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.attention[0, :5], plain.attention[0, :5], atol=1e-6, rtol=0)
    mass, before = (t.rows().image_mass[0, 5] for t in (found, plain))
    if update == "redistribute":
        torch.testing.assert_close(mass, before, atol=1e-6, rtol=0)
    changed = (found.attention[0, 5] - plain.attention[0, 5]).abs().amax(-1) > 1e-6
    assert int(changed.sum()) == (1 if heads == "sensitive" else 6)


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused_before_anything_runs() -> None:
    for make, told in (
        (lambda: LocoRE(beta=-0.1), r"beta=-0\.1"),
        (lambda: LocoRE(window=0), "window=0"),
        (lambda: LocoRE(mode="sum"), "mode='sum'"),  # type: ignore[arg-type]
        (lambda: CLVA(alpha=-1.0), r"alpha=-1\.0"),
        (lambda: CLVA(fraction=0.7), r"fraction=0\.7"),
        (lambda: CLVA(update="mix"), "update='mix'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ModelInputError, match=told):
            make()
    case = tiny_models.llava()
    with pytest.raises(ModelInputError, match="deep layers after all layers of the anchors"):
        attach(case.model, CLVA(initial=[0], middle=[2], deep=[1]))
