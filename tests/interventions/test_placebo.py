"""Placebos: edits as large as the method's own, elsewhere; the same in batches, alone and in replays."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

from lvlmscope.attention.attention_rows import AttentionRows
from lvlmscope.errors import InterventionError
from lvlmscope.interventions import AGLA, CLVA, DLEAF, PAI, SGRS, VCD, DoLa, HalluRNN, HeadRescaling, LocoRE, Placebo
from lvlmscope.interventions.placebo import _RandomRejection
from lvlmscope.interventions.repeatable_noise import mixed, normal, uniform
from lvlmscope.runtime.active_set import overrides
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.intervention_config import InterventionConfig
from lvlmscope.runtime.protocol import Intervention, ModelInfo, Session
from lvlmscope.runtime.step_logits import StepLogits
from tests.support import tiny_models
from tests.support.depth_cells import saved
from tests.support.started_sessions import layer_rows, session, traced

STEPS = 5
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
METHODS: dict[str, Intervention] = {
    "DLEAF": DLEAF(),
    "CLVA": CLVA(initial=[0], middle=[1], deep=[2]),
    "LocoRE": LocoRE(beta=0.3),
    "HalluRNN": HalluRNN(cell=saved()),
    "VCD": VCD(),
    "DoLa": DoLa(layers=[0, 1]),
    "PAI": PAI(),
    "SGRS": SGRS(alpha=0.99, layers=[1], J="after_image"),
    "HeadRescaling": HeadRescaling(l_perc=1.0, l_reas=0, tau_perc=0.5, tau_reas=0.2, g_perc=1.3, g_reas=1.5),
}
IDENTITIES = (DLEAF(gamma=0.0), LocoRE(beta=0.0), HalluRNN(cell=saved(), strength=0.0), SGRS(alpha=0.0))
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def generate(case: tiny_models.TinyCase, inputs: dict[str, Any] | None = None) -> Any:
    chosen = case.inputs if inputs is None else inputs
    return case.model.generate(**chosen, **OPTIONS, return_dict_in_generate=True, output_logits=True)


@each_method
def test_a_replay_repeats_the_generation(method: Intervention) -> None:
    found = traced(tiny_models.llava(), Placebo(intervention=method, seed=2))
    assert found.provenance["replay"]["difference"] < 1e-4
    assert found.effects[0]["name"] == "Placebo"


@each_method
def test_a_left_padded_batch_is_edited_like_single_samples(method: Intervention) -> None:
    case = tiny_models.llava(2)
    with intervene(case.model, Placebo(intervention=method)) as handle:
        batch = generate(case).sequences[:, -STEPS:]
        alone = [generate(case, case.sample(n)).sequences[0, -STEPS:] for n in range(2)]
    assert batch.tolist() == [one.tolist() for one in alone]
    assert handle.report()[0]["changed"]


@pytest.mark.parametrize("method", IDENTITIES, ids=lambda one: type(one).__name__)
def test_the_placebo_of_nothing_is_the_untouched_model(method: Intervention) -> None:
    case = tiny_models.llava(2)
    plain = generate(case)
    with intervene(case.model, Placebo(intervention=method)) as handle:
        edited = generate(case)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, edited.logits, strict=True))
    assert not handle.report()[0]["changed"]


def test_another_seed_edits_other_places() -> None:
    case = tiny_models.llava()
    found = []
    for seed in (0, 0, 1):
        with intervene(case.model, Placebo(intervention=DLEAF(), seed=seed)):
            found.append(generate(case).logits[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def random_rows(layer: int, spread: float) -> AttentionRows:
    """Four heads over 64 keys, of which half are the image; a smaller spread is a more even row."""
    noise = torch.randn(1, 1, 4, 64, generator=torch.Generator().manual_seed(layer))
    return AttentionRows((spread * noise).softmax(-1), (torch.arange(64) % 2 == 0).view(1, 1, -1), layer=layer)


def test_attention_is_moved_by_as_much_in_as_many_heads() -> None:
    method, sham = session(DLEAF(gamma=0.3), 3), session(Placebo(intervention=DLEAF(gamma=0.3), seed=1), 3)
    for started in (method, sham):
        assert started.edit_attention(random_rows(0, 9.0)) is None
    rows = random_rows(1, 1.0)
    real, random = method.edit_attention(rows), sham.edit_attention(rows)
    assert real is not None
    assert random is not None
    asked = (real - rows.weights).abs().sum(-1).flatten()
    made = (random - rows.weights).abs().sum(-1).flatten()
    assert torch.allclose(made.sort().values, asked.sort().values, atol=1e-6)
    assert 0 < int((made > 0).sum()) < 4
    assert not torch.allclose(random, real, atol=1e-3)
    assert torch.allclose(random.sum(-1), torch.ones(4))
    assert (random >= 0).all()
    assert sham.report()["change_reached"] == pytest.approx(1.0)


def test_a_change_that_no_reordering_reaches_is_made_as_far_as_it_goes() -> None:
    even = [[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]
    reached = []
    for seed in range(8):  # an even row is its own reordering; which head is drawn depends on the seed
        sham = session(Placebo(intervention=DLEAF(gamma=0.9), seed=seed), 2)
        sham.edit_attention(layer_rows(0, [[0.5, 0.5, 0.0, 0.0]] * 3))
        edited = sham.edit_attention(layer_rows(1, even))
        assert edited is not None
        assert torch.allclose(edited.sum(-1), torch.ones(3))
        reached.append(sham.report()["change_reached"])
    assert min(reached) == 0
    assert max(reached) == pytest.approx(1.0)


def test_keys_that_a_row_does_not_see_stay_empty() -> None:
    sham = session(Placebo(intervention=DLEAF(gamma=0.9, heads="all")), 2)
    visible = torch.tensor([[[False, True, True, True]]])
    sham.edit_attention(layer_rows(0, [[0.0, 1.0, 0.0, 0.0]] * 3, visible_keys=visible))
    weights = [[0.0, 0.5, 0.4, 0.1], [0.0, 0.2, 0.1, 0.7], [0.0, 0.1, 0.1, 0.8]]
    edited = sham.edit_attention(layer_rows(1, weights, visible_keys=visible))
    assert edited is not None
    assert (edited[..., 0] == 0).all()
    assert torch.allclose(edited.sum(-1), torch.ones(3))


def test_gains_are_dealt_to_other_heads() -> None:
    method = HeadRescaling(l_perc=1.0, l_reas=0, tau_perc=0.5, tau_reas=0.2, g_perc=1.3, g_reas=1.5)
    weights = [[0.1, 0.8, 0.1, 0.0], [0.9, 0.05, 0.05, 0.0], [0.6, 0.2, 0.2, 0.0]]
    real = session(method, 2).head_gain(layer_rows(1, weights))
    shams = [session(Placebo(intervention=method, seed=n), 2).head_gain(layer_rows(1, weights)) for n in range(8)]
    assert real is not None
    assert real.flatten().tolist() == pytest.approx([1.3, 1.5, 1.0])
    found = [tuple(one.flatten().tolist()) for one in shams if one is not None]
    assert all(sorted(one) == sorted(real.flatten().tolist()) for one in found)
    assert len(set(found)) > 2


def test_the_stream_moves_by_the_same_norm_in_a_random_direction() -> None:
    class Shift(Session):
        def edit_hidden(self, layer: int, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            moved = hidden.clone()
            moved[:, rows] += float(layer)
            return moved

    class Shifting:
        def start(self, model_info: ModelInfo) -> Session:
            del model_info
            return Shift()

        def describe(self) -> dict[str, Any]:
            return {"name": "Shifting"}

    sham = session(Placebo(intervention=Shifting()), 2)
    hidden, last = torch.randn(1, 4, 64), torch.tensor([3])
    moved = [sham.edit_hidden(layer, hidden, last) for layer in (1, 2)]
    for layer, one in enumerate(moved, start=1):
        assert one is not None
        change = one - hidden
        assert change[:, 3].norm() == pytest.approx(8.0 * layer, rel=1e-5)
        assert (change[:, :3] == 0).all()
        assert change[0, 3].std() > 0.5
    assert moved[0] is not None
    assert moved[1] is not None
    cosine = torch.cosine_similarity((moved[0] - hidden)[0, 3], (moved[1] - hidden)[0, 3], dim=0)
    assert abs(float(cosine)) < 0.5


def test_as_many_tokens_are_replaced_as_sgrs_replaces() -> None:
    case = tiny_models.llava()
    with intervene(case.model, Placebo(intervention=SGRS(alpha=0.99, layers=[1], J="after_image"))) as handle:
        case.model.generate(**case.inputs, **(OPTIONS | {"max_new_tokens": 24}))
    told = handle.report()[0]
    assert told["replaced_by_method"] > 3
    assert told["replaced_by_method"] - 1 <= told["replaced_tokens"] <= told["replaced_by_method"]


class _Second(LogitsProcessor):
    """Replaces the most probable token by the second in the first step alone."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        self.step += 1
        return scores.flip(-1) if self.step == 1 else scores


def test_one_rejection_that_is_owed_comes_later_at_random() -> None:
    places = []
    for seed in range(40):
        rejecting = _RandomRejection(seed, 3)
        rejecting.method = _Second()
        rejecting.begin({})
        scores, ids = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[7]])
        for step in range(30):
            kept = int(rejecting(torch.cat([ids, torch.full((1, step), step)], 1), scores).argmax())
            places += [step] if kept != 0 else []
        assert rejecting.counts == (1, 1)
    assert 5 < places.count(0) < 35
    assert len(set(places)) > 3


@pytest.mark.parametrize(("left", "possible"), [(1, {0}), (2, {0, 1}), (3, {0, 1, 2}), (4, {0, 1, 2})])
def test_a_rejected_token_gives_way_to_a_candidate_that_is_not_suppressed(left: int, possible: set[int]) -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    scores[:, left:] = float("-inf")
    kept = set()
    for seed in range(60):
        rejecting = _RandomRejection(seed, 3)
        rejecting.method = _Second()
        rejecting.begin({})
        kept |= {int(rejecting(torch.tensor([[7, step]]), scores).argmax()) for step in range(30)}
        assert rejecting.counts == (1, int(left > 1))
    assert kept == possible


def test_what_has_no_placebo_is_refused() -> None:
    class Nudging(InterventionConfig):
        def start(self, model_info: ModelInfo) -> Session:
            del model_info
            return _Nudge()

    class _Nudge(Session):
        def logits_processor(self) -> LogitsProcessor:
            return LogitsProcessor()

    with pytest.raises(InterventionError, match=r"make a placebo: got SGRS\(proposal='sample'\)"):
        Placebo(intervention=SGRS(proposal="sample"))
    with pytest.raises(InterventionError, match="got Nudging, which has a logits processor"):
        session(Placebo(intervention=Nudging()), 2)


def test_it_is_described_with_its_intervention() -> None:
    told = Placebo(intervention=DLEAF(gamma=0.5), seed=4).describe()
    assert told["parameters"]["seed"] == 4
    assert told["parameters"]["intervention"]["parameters"]["gamma"] == 0.5


def test_numbers_are_uniform_normal_and_unrelated() -> None:
    states = mixed(mixed(7, torch.arange(200).unsqueeze(-1)), torch.arange(500))
    flat = uniform(states)
    assert 0 < float(flat.min()) < 1e-3 < 0.999 < float(flat.max()) < 1
    shares = torch.histc(flat, 10, 0, 1) / flat.numel()
    assert torch.allclose(shares, torch.full((10,), 0.1), atol=5e-3)
    assert abs(float(torch.corrcoef(flat[:2])[0, 1])) < 0.15
    bell = normal(states)
    assert abs(float(bell.mean())) < 0.02
    assert float(bell.std()) == pytest.approx(1, abs=0.02)
    assert max(Counter(states.flatten().tolist()).values()) == 1
    assert uniform(mixed(3, torch.arange(4))).tolist() == uniform(mixed(3, torch.arange(4))).tolist()


def test_changes_of_logits_are_exchanged_among_the_tokens_that_stay_possible() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0], [0.0, 1.0, 2.0, 3.0, -1.0]])
    change = torch.tensor([[0.5, -0.5, 0.25, 0.0, float("-inf")], [0.0, 0.3, -0.3, 0.1, float("-inf")]])

    @dataclass(frozen=True)
    class Mixing:
        def start(self, _: ModelInfo) -> Session:
            class Started(Session):
                def mix_logits(self, step: StepLogits) -> torch.Tensor:
                    return step.logits + change

            return Started()

        def describe(self) -> dict[str, Any]:
            return {"name": "Mixing", "reference": "", "parameters": {}}

    answer = torch.tensor([[4], [9]])
    step = StepLogits(
        logits=logits,
        answer=answer,
        branch=lambda _: logits,
        early=lambda _: logits,
        look_ahead=lambda *_: layer_rows(0, [[1.0] * 4]),
    )
    moved = set()
    for seed in range(6):
        placebo = session(Placebo(intervention=Mixing(), seed=seed), 1)
        found = placebo.mix_logits(step)
        assert found is not None
        assert torch.equal(found, placebo.mix_logits(step))
        own = logits.log_softmax(-1)
        meant = (logits + change).log_softmax(-1) - own
        given = found - own
        assert (given[:, 4] == float("-inf")).all()
        torch.testing.assert_close(given[:, :4].sort(-1).values, meant[:, :4].sort(-1).values, atol=1e-5, rtol=1e-5)
        moved.add(tuple(given[0, :4].argsort().tolist()))
    assert len(moved) > 1


@each_method
def test_only_a_method_that_mixes_logits_has_a_placebo_that_does(method: Intervention) -> None:
    with intervene(tiny_models.llava().model, Placebo(intervention=method)) as handle:
        mixes = overrides(handle._active[0].session, "mix_logits")
        handle.withdraw()
    assert mixes == isinstance(method, VCD | DoLa | PAI)


def test_the_placebo_reads_the_layers_that_the_method_reads_in_each_forward() -> None:
    case = tiny_models.llava()
    with intervene(case.model, Placebo(intervention=AGLA())) as handle:
        generate(case)
        started = handle._active[0].session
    assert started.row_layers == frozenset()
