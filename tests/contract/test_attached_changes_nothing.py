"""Being attached changes no logit: every tiny model, on every kernel, with and without a cache, to the last bit."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from lvlmscope.errors import ModelInputError, UnsupportedModelError, UnsupportedOptionError
from lvlmscope.hooks.attention_tap import AttentionTap
from lvlmscope.interventions import DLEAF
from lvlmscope.runtime.attachment import attach, intervene
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES, FamilyCase
from tests.support.tiny_others import OTHERS
from tests.support.tiny_variants import VARIANTS
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
EMPTY = DLEAF(gamma=0.0)
REFUSED = {"mllama", "florence2", "instructblip_t5", "diffllama"}
CASES: dict[str, Callable[..., FamilyCase]] = {
    name: build for name, build in (FAMILIES | OTHERS | VARIANTS).items() if name not in REFUSED
}
# The language model inside these is what generate runs: outside of it the prompt comes embedded, without ids
EMBEDDED = {"instructblip", "blip_2"}
CACHED_ONLY = {"ernie4_5_vl_moe"}  # transformers 5.23 itself fails without a cache
UNPADDED = {"minimax_m3_vl"}  # its padded batches are refused
EAGER_ONLY = {"inkling2", "gpt_oss", "gemma2"}
BOUNDS = ("sliding_window", "sliding_window_size", "attention_chunk_size", "index_topk")


def logits_of(case: FamilyCase, **options: Any) -> tuple[torch.Tensor, ...]:
    made = case.model.generate(**case.inputs, **(OPTIONS | options), return_dict_in_generate=True, output_logits=True)
    return made.logits


def assert_same(plain: tuple[torch.Tensor, ...], attached: tuple[torch.Tensor, ...]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(plain, attached, strict=True))


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_the_untouched_model(name: str, kernel: str) -> None:
    if kernel == "sdpa" and name in EAGER_ONLY:
        with pytest.raises(ValueError, match="does not support an attention implementation"):
            CASES[name](1).model.set_attn_implementation(kernel)
        return
    case = CASES[name](1 if name in UNPADDED else 2)
    case.model.set_attn_implementation(kernel)
    with_cache = logits_of(case)
    without = () if name in CACHED_ONLY else logits_of(case, use_cache=False)
    whole = case.model(**case.inputs).logits
    before = tiny_models.footprint(case.model)
    with intervene(case.model, EMPTY) as handle:
        assert tiny_models.footprint(case.model)[1] == before[1]  # the kernels' names
        assert_same(with_cache, logits_of(case))
        assert handle.report()[0]["forwards"] == 4
        with pytest.raises(ModelInputError, match="inputs_embeds only") if name in EMBEDDED else nullcontext():
            assert torch.equal(whole, case.model(**case.inputs).logits)
        left_out = r"layer 3 gets the last 1 of 2 predicting rows; .*use_cache=True"
        with pytest.raises(UnsupportedOptionError, match=left_out) if name == "gemma4" else nullcontext():
            assert_same(without, () if name in CACHED_ONLY else logits_of(case, use_cache=False))
    assert tiny_models.footprint(case.model) == before
    assert_same(with_cache, logits_of(case))


@pytest.mark.parametrize("name", CASES)
def test_the_prompts_reach_beyond_every_window_and_every_choice_of_keys(name: str) -> None:
    case = CASES[name](1)
    text = case.model.config.get_text_config()
    bounds = [getattr(text, bound, None) for bound in BOUNDS]
    bounds.append(getattr(text, "index_topk_blocks", 0) * getattr(text, "index_block_size", 0))
    assert all(case.inputs["input_ids"].shape[1] > bound for bound in bounds if bound)


@pytest.mark.parametrize("name", ["llava", "gemma4", "mistral_large4", "qwen2_5_vl"])
def test_a_prompt_that_ends_in_the_image_keeps_its_logits(name: str) -> None:
    case = CASES[name](1)
    ids = case.inputs["input_ids"]
    end = int((ids[0] == tiny_models.IMAGE).nonzero()[-1]) + 1
    cut = {n: v[:, :end] if v.shape[:2] == ids.shape else v for n, v in case.inputs.items()}
    case = FamilyCase(case.model, cut, (cut,))
    plain = logits_of(case)
    with intervene(case.model, EMPTY):
        assert_same(plain, logits_of(case))


@contextmanager
def old_style(case: FamilyCase, *, eager: bool) -> Iterator[None]:
    """Attention modules that index the registry, or call their file's function, as files for transformers 4 do."""
    import transformers.models.llama.modeling_llama as home

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None, **kwargs):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            each(hidden_states).view(shape).transpose(1, 2) for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = home.apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = home.eager_attention_forward
        if self.config._attn_implementation != "eager":
            attend = home.ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        output, weights = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1)), weights

    case.model.set_attn_implementation("eager" if eager else "sdpa")
    modules = [layer.self_attn for layer in case.model.get_decoder().layers]
    for module in modules:
        vars(module)["forward"] = forward.__get__(module)
    try:
        yield
    finally:
        for module in modules:
            del vars(module)["forward"]


@pytest.mark.parametrize("eager", [True, False])
def test_files_written_for_older_versions_are_read_and_edited(eager: bool) -> None:
    case = FAMILIES["llava"](1)
    expected = from_inputs(case.model, case.samples[0], **OPTIONS)
    with old_style(case, eager=eager):
        plain = logits_of(case)
        found = from_inputs(case.model, case.samples[0], **OPTIONS)
        with intervene(case.model, EMPTY):
            assert_same(plain, logits_of(case))
        with intervene(case.model, DLEAF(gamma=0.9)) as handle:
            logits_of(case)
        assert handle.report()[0]["changed"]
    torch.testing.assert_close(found.attention, expected.attention, atol=1e-5, rtol=0)


def test_several_models_and_nested_blocks_share_the_registry_and_give_it_back() -> None:
    one, other = FAMILIES["llava"](2), FAMILIES["llava"](2, seed=1)
    logits_of(one), logits_of(other)
    before, plain = tiny_models.footprint(one.model), logits_of(other)
    lookup = AttentionInterface.get_interface
    first = attach(one.model, EMPTY)
    routed = AttentionInterface.get_interface
    assert routed is not lookup
    second, third = attach(other.model, EMPTY), attach(one.model, DLEAF(gamma=0.5))
    assert AttentionInterface.get_interface is routed  # installed once
    first.withdraw()
    assert_same(plain, logits_of(other))
    third.withdraw()
    assert AttentionInterface.get_interface is routed
    second.withdraw()
    assert AttentionInterface.get_interface is lookup
    assert tiny_models.footprint(one.model) == before


def test_a_tap_outside_another_sees_what_the_inner_one_gives() -> None:
    case = FAMILIES["llava"](1)
    plain = case.model(**case.inputs).logits
    seen: list[torch.Tensor] = []

    def doubled(_, run):
        output, weights = run()
        return output * 2, weights

    def watched(_, run):
        output, weights = run()
        seen.append(output)
        return output / 2, weights

    inner = AttentionTap(case.model.get_decoder(), lambda: 0, doubled)
    outer = AttentionTap(case.model.get_decoder(), lambda: 0, watched)
    inner.install()
    outer.install()
    try:
        assert torch.equal(case.model(**case.inputs).logits, plain)
        inner.remove()
        assert not torch.equal(case.model(**case.inputs).logits, plain)
    finally:
        inner.remove()
        outer.remove()
    assert len(seen) == 6
    assert torch.equal(case.model(**case.inputs).logits, plain)


def test_two_threads_attach_and_generate_at_once() -> None:
    cases = [FAMILIES["llava"](1, seed=seed) for seed in (0, 1)]
    plain = [logits_of(case) for case in cases]
    lookup, failures = AttentionInterface.get_interface, []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                with intervene(cases[number].model, EMPTY):
                    assert_same(plain[number], logits_of(cases[number]))
        except BaseException as error:  # noqa: BLE001 - a thread's failure is told to the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert AttentionInterface.get_interface is lookup


def test_two_attention_calls_in_a_layer_are_refused() -> None:
    case = VARIANTS["diffllama"]()
    match = "DiffLlamaAttention, which calls its attention function twice in layer 0"
    with pytest.raises(UnsupportedModelError, match=match):
        from_inputs(case.model, case.samples[0], **OPTIONS)
    with pytest.raises(UnsupportedModelError, match=match), intervene(case.model, DLEAF()):
        logits_of(case)


def test_flex_attention_is_refused_before_anything_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    case = FAMILIES["llava"]()
    case.model.set_attn_implementation({"text_config": "flex_attention"})
    monkeypatch.setattr(case.model, "generate", lambda **_: pytest.fail("generated"))
    with pytest.raises(UnsupportedOptionError, match="got flex_attention kernels"):
        from_inputs(case.model, case.samples[0], **OPTIONS)


def test_a_layer_that_attends_out_of_sight_is_refused_in_plain_generation_too() -> None:
    case = FAMILIES["llava"]()
    attention = case.model.get_decoder().layers[1].self_attn
    original = type(attention).forward

    def fused(*args: Any, **kwargs: Any) -> Any:
        """A kernel of its own: called without the registry."""
        held = attention.config._attn_implementation
        function = AttentionInterface()[held]
        direct = getattr(function, "__wrapped__", function)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AttentionInterface, "get_interface", lambda *_: direct)
            return original(attention, *args, **kwargs)

    vars(attention)["forward"] = fused
    match = r"layers \[1\] attend without the attention registry"
    with pytest.raises(UnsupportedModelError, match=match):
        from_inputs(case.model, case.samples[0], **OPTIONS)
    with pytest.raises(UnsupportedModelError, match=match), intervene(case.model, DLEAF()):
        logits_of(case)
