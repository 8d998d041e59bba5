"""What a trace may leave changed beside hooks: padding, modes, graphs, and what an outer attachment knows."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import lvlmscope as lv
from lvlmscope.tiny import scene
from tests.support import tiny_models
from tests.support.model_state import changed, model_state

OPTIONS: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "progress": False}
PROMPTS = ("Is there a cat?", "What is in the picture, and where?")


@pytest.fixture(scope="module")
def model() -> Any:
    return lv.load("tiny", check=False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_leave_the_side_of_padding_as_it_was(model: Any, side: str) -> None:
    pairs = [(scene("neutral", n).image, prompt) for n, prompt in enumerate(PROMPTS)]
    alone = [lv.trace(model, image, prompt, **OPTIONS).answer_ids.tolist() for image, prompt in pairs]
    tokenizer = model.processor.tokenizer
    before = tokenizer.padding_side
    tokenizer.padding_side = side
    try:
        state = model_state(model.model, model.processor)
        found = list(lv.trace_many(model, pairs, batch_size=2, **OPTIONS))
        assert [each.answer_ids.tolist() for each in found] == alone
        assert changed(state, model_state(model.model, model.processor)) == []
        assert tokenizer.padding_side == side
    finally:
        tokenizer.padding_side = before


def by_hand(case: tiny_models.TinyCase) -> torch.Tensor:
    """Logits of a prompt and two tokens that a program feeds itself, without ``generate``."""
    with torch.no_grad():
        first = case.model(**case.inputs, use_cache=True)
        found, cache = [first.logits[:, -1]], first.past_key_values
        for token in (11, 12):
            mask = torch.ones(1, cache.get_seq_length() + 1, dtype=torch.long)
            given = {"input_ids": torch.tensor([[token]]), "attention_mask": mask, "past_key_values": cache}
            found.append(case.model(**given, use_cache=True).logits[:, -1])
    return torch.stack(found)


def test_a_trace_inside_does_not_change_where_an_outer_attachment_sees_the_answer_begin() -> None:
    case = tiny_models.llava()
    longer = case.inputs | {
        name: torch.cat([value, value[:, -4:]], 1)
        for name, value in case.inputs.items()
        if name in ("input_ids", "attention_mask")
    }
    plain = by_hand(case)
    handle = lv.attach(case.model, lv.LocoRE(beta=0.9))
    try:
        before = by_hand(case)
        assert not torch.equal(before, plain)
        lv.trace_inputs(case.model, longer, max_new_tokens=5, suppress_tokens=tiny_models.SUPPRESSED)
        assert torch.equal(by_hand(case), before)
        lv.trace_inputs(case.model, longer, max_new_tokens=2, gradients=True, suppress_tokens=tiny_models.SUPPRESSED)
        assert torch.equal(by_hand(case), before)
    finally:
        handle.remove()
    assert torch.equal(by_hand(case), plain)


@contextmanager
def interrupted(model: Any, at: int) -> Iterator[list[weakref.ref[Any]]]:
    """An interrupt in one forward of a layer; yields what the layer gave in a graph."""
    given: list[weakref.ref[Any]] = []
    calls = 0

    def stop(_: Any, __: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.requires_grad:
            given.append(weakref.ref(hidden))
        if calls == at:
            raise KeyboardInterrupt

    hook = model.model.language_model.layers[1].register_forward_hook(stop)
    try:
        yield given
    finally:
        hook.remove()


@pytest.mark.parametrize("at", [1, 3, 4])
def test_an_interrupt_leaves_no_graph_and_no_mode(at: int) -> None:
    case = tiny_models.llava()
    options: dict[str, Any] = {"max_new_tokens": 3, "gradients": True, "suppress_tokens": tiny_models.SUPPRESSED}
    lv.trace_inputs(case.model, case.inputs, **options)  # which leaves attributes of its own
    state = model_state(case.model)
    with interrupted(case.model, at) as given, pytest.raises(KeyboardInterrupt):
        lv.trace_inputs(case.model, case.inputs, interventions=[lv.LocoRE()], **options)
    gc.collect()
    assert changed(state, model_state(case.model)) == []
    assert len(given) == (at == 4)  # the fourth forward is the replay's
    assert all(each() is None for each in given)
    assert not case.model.training
    assert lv.trace_inputs(case.model, case.inputs, **options)[0].gradient is not None
