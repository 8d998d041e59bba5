"""SGRS: against its slow twin, planted rejections, what it leaves behind, and what it refuses."""

import dataclasses
from typing import Any

import pytest
import torch

from lvlmscope.errors import InterventionError, ModelInputError, UnsupportedOptionError
from lvlmscope.interventions import SGRS, LocoRE, sgrs
from lvlmscope.interventions.sgrs_rule import AcceptedScores, choose
from lvlmscope.runtime.attachment import intervene
from tests.reference import sgrs as twin
from tests.support import tiny_models
from tests.support.started_sessions import session
from tests.support.traced import from_inputs

STEPS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
EAGER = SGRS(alpha=0.95, layers=[1, 2])  # rejects in most steps of the random model


def generated(case: tiny_models.TinyCase, intervention: SGRS, **options: Any) -> tuple[Any, dict[str, Any]]:
    with intervene(case.model, intervention) as handle:
        kept = {"return_dict_in_generate": True, "output_logits": True}
        output = case.model.generate(**case.inputs, **(OPTIONS | kept | options))
    return output, handle.report()[0]


@pytest.mark.parametrize("intervention", [EAGER, SGRS(k=3, alpha=0.9, W=2, R=1, layers=[0], J="after_image")])
def test_agrees_with_its_twin(intervention: SGRS, monkeypatch: pytest.MonkeyPatch) -> None:
    case, seen = tiny_models.llava(), []

    def watched(scores: Any, *args: Any, **options: Any) -> Any:
        seen.append(scores[0].tolist())
        return choose(scores, *args, **options)

    monkeypatch.setattr(sgrs, "choose", watched)
    output, report = generated(case, intervention)
    expected = twin.generate(
        case.model,
        case.inputs,
        STEPS,
        layers=intervention.layers,
        suppressed=tiny_models.SUPPRESSED,
        k=intervention.k,
        alpha=intervention.alpha,
        window=intervention.W,
        attempts=intervention.R,
        after=int(case.image_mask[0].nonzero()[-1]) if intervention.J == "after_image" else None,
    )
    assert output.sequences[0, -STEPS:].tolist() == expected.tokens
    torch.testing.assert_close(
        torch.tensor(seen, dtype=torch.float64),
        torch.tensor(expected.candidate_scores, dtype=torch.float64),
        atol=1e-5,
        rtol=1e-5,
        equal_nan=True,
    )
    assert (report["rejections"], report["fallbacks"]) == (expected.rejections, expected.fallbacks)
    assert report["rejections"] > 0
    assert report["mean_accepted_score"] == pytest.approx(sum(expected.accepted) / len(expected.accepted), abs=1e-5)


def test_a_rejection_changes_the_token_and_not_the_logits() -> None:
    case = tiny_models.llava()
    plain = case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
    output, report = generated(case, EAGER)
    pairs = list(zip(plain.sequences[0, -STEPS:].tolist(), output.sequences[0, -STEPS:].tolist(), strict=True))
    first = next(step for step, (old, new) in enumerate(pairs) if old != new)
    # Up to the first other token the model's own logits are the untouched ones, to the last bit
    assert all(torch.equal(plain.logits[step], output.logits[step]) for step in range(first + 1))
    assert report["changed"]
    assert report["changed_tokens"] <= report["rejections"]
    assert report["resamples_per_token"] == report["rejections"] / STEPS
    assert report["tokens"] == STEPS
    assert report["scored_tokens"] == STEPS - 1


def test_no_graph_and_no_grad_mode_is_left_behind() -> None:
    case = tiny_models.llava(2)
    output, _ = generated(case, EAGER, output_hidden_states=True, output_attentions=False)
    cached = [tensor for layer in output.past_key_values.layers for tensor in (layer.keys, layer.values)]
    hidden = [tensor for step in output.hidden_states for tensor in step]
    assert all(t.grad_fn is None and not t.requires_grad for t in [*cached, *output.logits, *hidden])
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in case.model.parameters())


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_the_grad_mode_is_put_back_when_a_layer_fails(enabled: bool, error: type[BaseException]) -> None:
    case, calls = tiny_models.llava(), []

    def fail(*_: Any) -> None:
        calls.append(torch.is_grad_enabled())
        if len(calls) == 3:
            raise error

    hook = case.model.model.language_model.layers[2].register_forward_hook(fail)
    with torch.set_grad_enabled(enabled), hook:
        with pytest.raises(error):
            generated(case, EAGER)
        assert torch.is_grad_enabled() is enabled
    assert calls == [False, True, True]


@pytest.mark.parametrize("frozen", [True, False])
def test_weights_may_be_frozen(frozen: bool) -> None:
    case = tiny_models.llava()
    expected = generated(case, EAGER)[0].sequences.tolist()
    case.model.requires_grad_(not frozen)
    assert generated(case, EAGER)[0].sequences.tolist() == expected


def test_bf16_and_other_kernels() -> None:
    case = tiny_models.llava(dtype=torch.bfloat16)
    _, report = generated(case, EAGER)
    assert 0 < report["mean_accepted_score"] < 1
    case = tiny_models.llava()
    expected = generated(case, EAGER)[0].sequences.tolist()
    case.model.set_attn_implementation("eager")
    assert generated(case, EAGER)[0].sequences.tolist() == expected
    assert generated(case, EAGER, cache_implementation="static")[0].sequences.tolist() == expected


def test_it_sees_the_rows_that_other_interventions_edited() -> None:
    case = tiny_models.llava()
    found = []
    for stack in ([EAGER], [LocoRE(beta=0.5), EAGER]):
        traced = from_inputs(case.model, case.inputs, interventions=stack, **OPTIONS)
        assert traced.provenance["replay"]["difference"] < 1e-4  # type: ignore[union-attr]
        found.append(traced.effects[-1]["mean_accepted_score"])  # type: ignore[union-attr]
    assert found[0] != found[1]


def test_a_replay_and_a_given_answer_choose_nothing() -> None:
    case = tiny_models.llava()
    with intervene(case.model, EAGER) as handle:
        case.model(**case.inputs)
        from_inputs(case.model, case.inputs, answer=[5, 6, 7])
        assert handle.report()[0]["rejections"] == 0


def test_other_processors_come_first_and_samplers_have_nothing_left() -> None:
    case = tiny_models.llava()
    expected = generated(case, EAGER)[0].sequences.tolist()
    warm = {"do_sample": True, "temperature": 3.0, "top_k": 50, "top_p": 0.9}
    assert generated(case, EAGER, **warm)[0].sequences.tolist() == expected
    banned = sorted({*tiny_models.SUPPRESSED, *expected[0][-STEPS:]})
    other = generated(case, EAGER, suppress_tokens=banned)[0]
    assert not set(other.sequences[0, -STEPS:].tolist()) & set(banned)


def test_sampled_proposals_follow_the_probabilities() -> None:
    log_probs = torch.tensor([[0.7, 0.3, 0.0]]).log().expand(4000, -1)
    torch.manual_seed(0)
    order = sgrs._proposal_order(log_probs, "sample")
    assert (order[:, 0] == 0).float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert (order[:, 2] == 2).all()
    case = tiny_models.llava()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(generated(case, dataclasses.replace(EAGER, proposal="sample"))[0].sequences.tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_tokens_after_an_end_are_not_counted() -> None:
    case = tiny_models.llava(2)
    longest = generated(case, EAGER)[0].sequences[:, -STEPS:].tolist()
    end = longest[0][1]
    assert end not in longest[1]
    _, report = generated(case, EAGER, eos_token_id=end)
    assert report["tokens"] == 2 + STEPS


def test_by_hand() -> None:
    """Four samples: accepted second, fallen back to the best, its second candidate first, and without scores."""
    nan = float("nan")
    scores = torch.tensor([[0.1, 0.2, 0.4], [0.1, 0.2, 0.4], [0.1, 0.2, 0.4], [nan, nan, nan]])
    order = torch.tensor([[0, 1, 2], [0, 1, 2], [1, 0, 2], [1, 0, 2]])
    found = choose(scores, order, torch.full((4,), 3), torch.tensor([0.2, 0.9, 0.0, 1.0]), attempts=2)
    assert found.index.tolist() == [1, 2, 1, 1]
    assert found.rejections.tolist() == [1, 2, 0, 0]
    assert found.fallback.tolist() == [False, True, False, False]
    assert found.changed.tolist() == [True, True, False, False]
    assert found.score.isnan().tolist() == [False, False, False, True]


def test_candidates_that_are_suppressed_are_neither_proposed_nor_fallen_back_to() -> None:
    scores, order = torch.tensor([[0.1, 0.2, 0.9]]), torch.tensor([[0, 1, 2]])
    found = choose(scores, order, torch.tensor([2]), torch.tensor([0.5]), attempts=3)
    assert (found.index.item(), found.rejections.item(), found.fallback.item()) == (1, 2, True)


def test_the_threshold_is_that_of_the_last_known_scores_of_each_sample() -> None:
    history = AcceptedScores(2, torch.zeros(2))
    assert history.threshold(0.5).tolist() == [0.0, 0.0]
    for scores in ([0.3, float("nan")], [0.5, 0.4], [0.1, float("nan")]):
        history.add(torch.tensor(scores))
    assert history.threshold(0.5).tolist() == pytest.approx([0.15, 0.2])


def test_without_an_image_there_is_nothing_after_it() -> None:
    case = tiny_models.llava()
    text = {name: case.inputs[name][:, ~case.image_mask[0]] for name in ("input_ids", "attention_mask")}
    plain = case.model.generate(**text, **OPTIONS)
    with intervene(case.model, SGRS(J="after_image")) as handle, pytest.warns(UserWarning, match="holds no image"):
        assert torch.equal(case.model.generate(**text, **OPTIONS), plain)
    assert not handle.report()[0]["saw_image"]


@pytest.mark.parametrize(
    ("options", "text"),
    [({"num_beams": 3}, "num_beams=3"), ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences=2")],
)
def test_what_cannot_be_followed_is_refused_before_it_begins(options: dict[str, Any], text: str) -> None:
    case, calls = tiny_models.llava(), []
    hook = case.model.register_forward_pre_hook(lambda *_: calls.append(1))
    with hook, pytest.raises(UnsupportedOptionError, match=text):
        generated(case, SGRS(), **options)
    with hook, pytest.raises(UnsupportedOptionError, match="inference_mode"), torch.inference_mode():
        generated(case, SGRS())
    assert not calls


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"alpha=1\.0"):
        SGRS(alpha=1.0)
    with pytest.raises(ModelInputError, match="k=0; expected: a whole number from 1"):
        SGRS(k=0)
    with pytest.raises(InterventionError, match=r"W=2\.5"):
        SGRS(W=2.5)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="proposal='beam'"):
        SGRS(proposal="beam")  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="choose layers: got layers 9"):
        session(SGRS(layers=[9]), 3)
