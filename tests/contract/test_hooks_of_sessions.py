"""What every hook that edits a forward has in common: no edit is no change, and what is no edit is named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import InterventionError
from lvlmscope.runtime.attachment import intervene
from lvlmscope.runtime.edit_record import CHECK_AT_ONCE
from tests.support import tiny_models
from tests.support.scripted_sessions import Scripted
from tests.support.tiny_families import FAMILIES

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "suppress_tokens": tiny_models.SUPPRESSED}
SHOWN: dict[str, Callable[..., torch.Tensor]] = {
    "edit_attention": lambda rows: rows.weights,
    "edit_prompt_attention": lambda rows, _: rows.weights,
    "edit_hidden": lambda _, hidden, __: hidden,
    "edit_mlp": lambda _, output, __: output,
}
DOING = {
    "edit_attention": "edit attention with Scripted",
    "edit_prompt_attention": "edit attention of the prompt with Scripted",
    "edit_hidden": "edit the residual stream with Scripted",
    "edit_mlp": "edit the output of an MLP with Scripted",
}
each_hook = pytest.mark.parametrize("hook", SHOWN)


def doing(hook: str, what: Callable[[torch.Tensor], Any]) -> Scripted:
    hooks: dict[str, Any] = {hook: lambda *args: what(SHOWN[hook](*args))}
    return Scripted(**hooks)


def generate(case: Any) -> Any:
    return case.model.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True).logits


@pytest.mark.filterwarnings("ignore:.* changed nothing in:UserWarning")
@pytest.mark.parametrize("what", [torch.clone, lambda _: None], ids=["a copy", "None"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
@each_hook
def test_no_edit_is_bit_identical(hook: str, family: str, what: Callable[[torch.Tensor], Any]) -> None:
    case = FAMILIES[family](2)
    plain = generate(case)
    before = tiny_models.footprint(case.model)
    with intervene(case.model, doing(hook, what)) as handle:
        found = generate(case)
        assert not handle.report()[0]["changed"]
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    assert tiny_models.footprint(case.model) == before


@each_hook
def test_an_edit_is_noticed(hook: str) -> None:
    case = FAMILIES["llava"](2)
    plain = generate(case)
    with intervene(case.model, doing(hook, lambda shown: shown.roll(1, -2))) as handle:
        found = generate(case)
        assert handle.report()[0]["changed"]
    assert not torch.allclose(plain[0], found[0], atol=1e-4)
    assert all(torch.equal(one, other) for one, other in zip(plain, generate(case), strict=True))


@pytest.fixture(params=["now", "later"])
def _looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "later":
        monkeypatch.delenv(CHECK_AT_ONCE)


@pytest.mark.usefixtures("_looked_at")
@each_hook
def test_what_is_no_edit_is_named(hook: str) -> None:
    case = FAMILIES["llava"](2)
    for what, match in (
        (lambda shown: shown * float("nan"), f"{DOING[hook]}: got NaN or infinity"),
        (lambda shown: shown[..., :-1], f"{DOING[hook]}: got .*same shape|{DOING[hook]}: got .*rows' shape"),
        (lambda shown: shown.mul_(0.5), f"run {hook} of the intervention Scripted: got .* changed in place"),
    ):
        with pytest.raises(InterventionError, match=match), intervene(case.model, doing(hook, what)):
            generate(case)
    assert not lv.attached(case.model)


@pytest.mark.parametrize("hook", ["edit_attention", "edit_prompt_attention"])
def test_weight_on_a_masked_key_is_named(hook: str) -> None:
    case = FAMILIES["llava"](2)
    match = f"{DOING[hook]}: got weight on a masked key"
    what = doing(hook, lambda shown: torch.full_like(shown, 1 / shown.shape[-1]))
    with pytest.raises(InterventionError, match=match), intervene(case.model, what):
        generate(case)


@pytest.mark.parametrize("hook", ["edit_prompt_attention", "edit_mlp"])
def test_a_placebo_says_which_edits_it_cannot_imitate(hook: str) -> None:
    case = FAMILIES["llava"](1)
    with (
        pytest.raises(InterventionError, match=f"make a placebo: got Scripted, which has {hook}"),
        intervene(case.model, lv.Placebo(intervention=doing(hook, torch.clone))),
    ):
        pass
