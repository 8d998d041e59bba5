"""Options of attention calls: those that are read equal a float64 twin, those that are not understood are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from lvlmscope.errors import UnsupportedModelError, UnsupportedOptionError
from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import mix_values, row_scores, softmax_rows, visibility
from lvlmscope.hooks.attention_options import HARMLESS, READ
from lvlmscope.interventions import DLEAF
from lvlmscope.runtime.attachment import intervene
from tests.reference import attention_kernel
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_variants import VARIANTS
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "suppress_tokens": tiny_models.SUPPRESSED, "do_sample": False}
BATCH, HEADS, QUERIES, KEYS = 2, 4, 5, 9
PADDING = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1]])


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def weights_of(call: AttentionCall) -> torch.Tensor:
    visible, bias = visibility(call)
    scores = row_scores(call)
    scores = (scores if bias is None else scores + bias).masked_fill(~visible, float("-inf"))
    return softmax_rows(scores, call)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "padding": ({}, {"padding": PADDING}),
    "window": ({"sliding_window": 3}, {"window": 3}),
    "window and padding": ({"sliding_window": 3}, {"window": 3, "padding": PADDING}),
    "unfilled cache": ({}, {"padding": PADDING[:, :7]}),
    "window in an unfilled cache": ({"sliding_window": 3}, {"window": 3, "padding": PADDING[:, :7]}),
    "softcap": ({"softcap": 1.5}, {"softcap": 1.5}),
    "softcap, window and padding": ({"softcap": 0.5, "sliding_window": 4}, {"softcap": 0.5, "window": 4}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("extra", ["none", "s_aux", "sinks", "position_bias"])
@pytest.mark.parametrize("first_row", [0, 3])
def test_rows_and_outputs_equal_the_twin(name: str, extra: str, first_row: int) -> None:
    torch.manual_seed(0)
    query, key, value = drawn(BATCH, HEADS, QUERIES, 6), drawn(BATCH, 2, KEYS, 6), drawn(BATCH, 2, KEYS, 3)
    options, twin = CASES[name]
    added: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"none": ({}, {})}
    heads, each, bias = drawn(HEADS), drawn(BATCH, HEADS, QUERIES, 1), drawn(BATCH, HEADS, QUERIES, KEYS)
    added["s_aux"] = ({"s_aux": heads}, {"head_sinks": heads})
    added["sinks"] = ({"sinks": each}, {"query_sinks": each})
    added["position_bias"] = ({"position_bias": bias}, {"bias": bias})
    call = AttentionCall(
        module=torch.nn.Module(),
        query=query,
        key=key,
        value=value,
        mask=twin.get("padding"),
        kernel="flash_attention_2",
        options={"scaling": 0.7} | options | added[extra][0],
        first_row=first_row,
    )
    outputs, weights = attention_kernel.attend(query, key, value, scaling=0.7, **twin, **added[extra][1])
    found = weights_of(call)
    torch.testing.assert_close(found, weights[:, :, first_row:], atol=1e-12, rtol=0)
    torch.testing.assert_close(mix_values(found, call), outputs[:, first_row:], atol=1e-12, rtol=0)


def test_the_lists_do_not_overlap_and_give_reasons() -> None:
    assert not set(READ) & set(HARMLESS)
    assert all(READ.values())
    assert all(HARMLESS.values())


@contextmanager
def registered(name: str, function: Any, like: str) -> Iterator[str]:
    """A kernel of one's own, with another's mask."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[like])
    try:
        yield name
    finally:
        AttentionInterface._global_mapping.pop(name)
        AttentionMaskInterface._global_mapping.pop(name)


def looped(kept: list[torch.Tensor], **fixed: Any) -> Any:
    """The twin as a kernel."""

    def attend(module, query, key, value, attention_mask=None, *, scaling=None, **options):
        names = {"sliding_window": "window", "softcap": "softcap", "s_aux": "head_sinks"}
        read = {names[n]: v for n, v in options.items() if n in names and v is not None} | fixed
        outputs, weights = attention_kernel.attend(query, key, value, scaling=scaling, padding=attention_mask, **read)
        if hasattr(module, "layer_idx") and query.shape[1] == 6:
            kept.append(weights)
        return outputs.to(value.dtype), None

    return attend


@pytest.mark.parametrize("name", ["gemma2", "gpt_oss"])
def test_a_flash_kernel_with_windows_padding_caps_and_sinks_is_read_as_it_computes(name: str) -> None:
    """The kernel is the twin itself; its masks are flash's: none, or two axes."""
    case, kept = VARIANTS[name](2), []
    with registered("flash_twin", looped(kept), "flash_attention_2") as kernel:
        case.model.set_attn_implementation({"text_config": kernel})
        batch = from_inputs(case.model, case.inputs, **OPTIONS)
        assert isinstance(batch, list)
        assert batch[0].provenance["model"]["kernel"] == kernel
    steps, layers = 4, 4
    replayed = kept[-layers:]
    for number, traced in enumerate(batch):
        width = traced.attention.shape[-1]
        for layer, weights in enumerate(replayed):
            expected = weights[number, :, -steps:, -width:].transpose(0, 1).float()
            torch.testing.assert_close(traced.attention[:, layer], expected, atol=1e-5, rtol=0)
    if name == "gpt_oss":
        assert batch[0].attention.sum(-1).min() < 0.7


def tempered(module, query, key, value, attention_mask=None, *, temperature=1.0, scaling=None, **options):
    """A kernel with an option that lvlmscope does not know."""
    sdpa = AttentionInterface()["sdpa"]
    return sdpa(module, query, key, value, attention_mask, scaling=scaling / temperature, **options)


@contextmanager
def called_with(model: Any, **options: Any) -> Iterator[None]:
    """Keyword arguments added to the attention calls of the model's decoder."""
    layers = model.get_decoder().layers
    hooks = [
        layer.self_attn.register_forward_pre_hook(lambda _, args, given: (args, given | options), with_kwargs=True)
        for layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def test_an_option_that_is_not_known_and_changes_the_weights_is_refused_by_name() -> None:
    case = FAMILIES["llava"]()
    with registered("tempered", tempered, "sdpa") as kernel, called_with(case.model, temperature=1.5):
        case.model.set_attn_implementation({"text_config": kernel})
        match = r"LlamaAttention \(layer \d, tempered\) called with temperature=, which changes the weights"
        with pytest.raises(UnsupportedOptionError, match=match):
            from_inputs(case.model, case.samples[0], **OPTIONS)
        with pytest.raises(UnsupportedOptionError, match=match), intervene(case.model, DLEAF()):
            case.model.generate(**case.samples[0], **OPTIONS)


def test_an_option_that_is_not_known_and_changes_nothing_is_no_obstacle() -> None:
    case = FAMILIES["llava"]()
    plain = from_inputs(case.model, case.samples[0], **OPTIONS)
    with called_with(case.model, remark="nothing"):
        remarked = from_inputs(case.model, case.samples[0], **OPTIONS)
    assert torch.equal(plain.attention, remarked.attention)


def test_a_kernel_that_ignores_what_it_is_given_is_refused() -> None:
    def deaf(module, query, key, value, attention_mask=None, **options):
        del options["s_aux"]
        return AttentionInterface()["sdpa"](module, query, key, value, attention_mask, **options)

    case = VARIANTS["gpt_oss"]()
    with registered("deaf", deaf, "sdpa") as kernel:
        case.model.set_attn_implementation({"text_config": kernel})
        with pytest.raises(UnsupportedModelError, match=r"GptOssAttention .*deaf\), whose output is not .*s_aux="):
            from_inputs(case.model, case.samples[0], **OPTIONS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cache": object()}, "keys that the kernel fetches itself"),
        ({"s_aux": torch.zeros(6), "sinks": torch.zeros(6)}, r"s_aux \[6\] and sinks \[6\]; expected: one sink"),
        ({"sinks": torch.zeros(5)}, r"sinks \[5\]; expected: one sink"),
    ],
)
def test_options_that_hide_the_weights_are_refused(options: dict[str, Any], match: str) -> None:
    case = FAMILIES["llava"]()

    def swallowing(module, query, key, value, attention_mask=None, *, scaling=None, **_):
        return AttentionInterface()["sdpa"](module, query, key, value, attention_mask, scaling=scaling)

    def adding(module, *args, **given):
        return swallowing(module, *args, **given)

    with registered("adding", adding, "sdpa") as kernel, called_with(case.model, **options):
        case.model.set_attn_implementation({"text_config": kernel})
        with pytest.raises(UnsupportedOptionError, match=match):
            from_inputs(case.model, case.samples[0], **OPTIONS)


def test_keys_chosen_outside_the_mask_are_refused() -> None:
    case = FAMILIES["llava"]()
    with called_with(case.model, indices=torch.zeros(1, dtype=torch.int32)):
        assert from_inputs(case.model, case.samples[0], **OPTIONS)
        with registered("sparse", AttentionInterface()["sdpa"], "sdpa") as kernel:
            case.model.set_attn_implementation({"text_config": kernel})
            with pytest.raises(UnsupportedOptionError, match="indices=, keys chosen outside the mask"):
                from_inputs(case.model, case.samples[0], **OPTIONS)
