"""What interventions that mix logits add to an estimate, against the tensors that their branches hold."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.capture.mixing_memory import branch_bytes, look_ahead_bytes
from lvlmscope.decoding.branch import Branch
from lvlmscope.decoding.look_ahead import LookAhead
from lvlmscope.errors import MemoryLimitError
from lvlmscope.models.families import family_of
from lvlmscope.runtime.prompt_inputs import PromptInputs
from lvlmscope.runtime.protocol import Session
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.traced import from_inputs

STEPS = 6
OPTIONS: dict[str, Any] = {"max_new_tokens": STEPS, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
WITHOUT_IMAGE = (lv.M3ID(threshold=1.0), lv.PAI(gamma=1.2))


def held(branch: Branch) -> int:
    """Bytes of a branch's cache, and of the logits of its answer."""
    assert branch._prompt is not None
    assert branch._block is not None
    layers = branch._prompt.cache.layers
    return int(sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) + branch._block.nbytes)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_stated_of_a_branch_is_what_it_holds(family: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES[family](batch)
    begun: list[Branch] = []
    replay = Branch.replay

    def noting(self: Branch, answer: torch.Tensor) -> None:
        begun.append(self)
        replay(self, answer)

    monkeypatch.setattr(Branch, "replay", noting)
    from_inputs(case.model, case.inputs, interventions=[lv.VCD()], **OPTIONS)
    (branch,) = begun
    stated, passing = branch_bytes(case.model, family_of(case.model), case.inputs["input_ids"].shape, STEPS)
    assert held(branch) == stated
    assert passing > 0


def test_each_sequence_counts_once_and_the_mixed_logits_too() -> None:
    case = FAMILIES["llava"](2)
    rows, length = case.inputs["input_ids"].shape
    family = family_of(case.model)
    image = int(family.image_mask(case.model, case.inputs["input_ids"])[0].sum())

    def stated(*stack: Any) -> int:
        return lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, interventions=stack).mixing

    mixed = 2 * rows * STEPS * family.text_config(case.model).vocab_size * 4
    text = branch_bytes(case.model, family, (rows, length - image), STEPS)
    whole = branch_bytes(case.model, family, (rows, length), STEPS)
    assert stated() == stated(lv.DLEAF()) == 0
    assert stated(lv.DoLa(layers=[0])) == mixed
    assert stated(*WITHOUT_IMAGE[:1]) == stated(*WITHOUT_IMAGE) == mixed + sum(text)
    assert stated(lv.VCD(), *WITHOUT_IMAGE) == mixed + text[0] + whole[0] + max(text[1], whole[1])
    both = branch_bytes(case.model, family, (2 * rows, length + 3), STEPS)
    assert stated(lv.VCD(), lv.ICD(disturbance=(3, 4, 5))) == mixed + sum(both)  # in one batch
    assert stated(lv.AGLA()) == mixed + sum(whole)  # whose prompt is made when it is asked for


def test_many_candidates_take_more_for_a_moment_than_a_short_prompt() -> None:
    case = FAMILIES["llava"](1)
    family = family_of(case.model)
    config, count, columns = family.text_config(case.model), 50, 2 + 3
    _, passing = look_ahead_bytes(case.model, family, (1, 2), 3, count)
    token = 8 * config.hidden_size + 4 * config.intermediate_size
    head_dim = config.hidden_size // config.num_attention_heads
    own = 2 * token + 2 * config.vocab_size + 4 * config.num_attention_heads * columns
    assert passing == 4 * count * (own + columns * 2 * config.num_key_value_heads * head_dim)


@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_stated_of_a_look_ahead_is_what_it_holds(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES["llava"](batch)
    most: list[int] = []
    run = LookAhead.run

    def noting(self: LookAhead, answer: torch.Tensor, candidates: torch.Tensor) -> None:
        run(self, answer, candidates)
        assert self._prompt is not None
        layers = self._prompt.cache.layers
        column = sum(each.keys[..., :1, :].nbytes + each.values[..., :1, :].nbytes for each in layers)
        most.append(column * (layers[0].keys.shape[-2] + 1))  # the candidate's was there, too

    monkeypatch.setattr(LookAhead, "run", noting)
    ask: dict[str, Any] = {"interventions": lv.OPERA(candidates=3)}
    from_inputs(case.model, case.inputs, **ask, **OPTIONS)
    family, shape = family_of(case.model), case.inputs["input_ids"].shape
    stated, passing = look_ahead_bytes(case.model, family, shape, STEPS, 3)
    config = family.text_config(case.model)
    assert stated == max(most) + 3 * batch * config.vocab_size * 4
    assert passing > 0
    mixed = 2 * batch * STEPS * config.vocab_size * 4
    estimate = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, **ask)
    assert estimate.mixing == mixed + stated + passing
    off = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, interventions=lv.OPERA(alpha=0.0))
    assert off.mixing == mixed


def test_the_limit_counts_what_is_on_and_the_estimate_leaves_nothing_on() -> None:
    case = FAMILIES["llava"](1)
    ask: dict[str, Any] = {"inputs": case.inputs, "max_new_tokens": STEPS}
    before = tiny_models.footprint(case.model)
    plain, mixed = lv.estimate(case.model, **ask), lv.estimate(case.model, **ask, interventions=WITHOUT_IMAGE)
    assert tiny_models.footprint(case.model) == before
    assert mixed.peak > plain.peak
    assert mixed.kept == plain.kept
    assert "mixing" in str(mixed)
    assert "mixing" not in str(plain)
    with lv.intervene(case.model, *WITHOUT_IMAGE):
        assert lv.estimate(case.model, **ask) == mixed
        from_inputs(case.model, case.inputs, max_memory=mixed.peak, **OPTIONS)
    with pytest.raises(MemoryLimitError, match="trace within a limit of memory"):
        from_inputs(case.model, case.inputs, max_memory=mixed.peak - 1, interventions=WITHOUT_IMAGE, **OPTIONS)


class Drawing:
    """Takes its noise from torch's own generator, as a first sketch of a method does."""

    def start(self, _: Any) -> Session:
        class Started(Session):
            def branches(self, prompt: PromptInputs) -> Mapping[str, PromptInputs]:
                return {"noise": prompt.with_pixels(torch.randn_like)}

            def mix_logits(self, step: Any) -> torch.Tensor:
                mixed: torch.Tensor = step.logits - step.branch("noise")
                return mixed

        return Started()

    def describe(self) -> dict[str, Any]:
        return {"name": "Drawing", "reference": "", "parameters": {}}


def test_to_state_it_draws_nothing_from_the_generators() -> None:
    case = FAMILIES["llava"](1)
    before = torch.get_rng_state()
    stated = lv.estimate(case.model, inputs=case.inputs, max_new_tokens=STEPS, interventions=Drawing())
    assert stated.mixing > 0
    assert torch.equal(torch.get_rng_state(), before)
