"""What is on a model: replaced, listed, cleared; copies, the user's own generate, and threads."""

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import lvlmscope as lv
from lvlmscope.errors import InterventionError
from tests.runtime.test_attachment import ALL, OPTIONS, Shifted, TowardsImage, Toy, generate
from tests.support import tiny_models
from tests.support.traced import from_inputs


def test_an_equal_intervention_that_is_attached_again_replaces_the_first() -> None:
    case = tiny_models.llava()
    plain = generate(case).logits
    before = tiny_models.footprint(case.model)
    first = lv.attach(case.model, Toy(TowardsImage), Toy(TowardsImage, 0.4))
    once = generate(case).logits
    with pytest.warns(UserWarning, match="TowardsImage was attached already with these parameters; this one replaces"):
        second = lv.attach(case.model, Toy(TowardsImage))
    assert lv.attached(case.model) == (Toy(TowardsImage, 0.4), Toy(TowardsImage))
    assert repr(first) == "Handle(TowardsImage -> TowardsImage)"
    twice = generate(case).logits
    assert torch.allclose(once[0], twice[0], atol=1e-5)
    first.remove()
    assert lv.attached(case.model) == (Toy(TowardsImage),)
    assert lv.detach(case.model) == (Toy(TowardsImage),)
    assert lv.attached(case.model) == lv.detach(case.model) == ()
    assert repr(second) == "Handle(TowardsImage, removed)"
    second.remove()
    assert tiny_models.footprint(case.model) == before
    assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, plain, strict=True))


@pytest.mark.filterwarnings("error:.*was attached already")
def test_where_a_warning_is_an_error_what_was_attached_goes_on() -> None:
    case = tiny_models.llava()
    plain = generate(case).logits
    before = tiny_models.footprint(case.model)
    first = lv.attach(case.model, Toy(TowardsImage))
    attached, once = tiny_models.footprint(case.model), generate(case).logits
    assert not torch.equal(once[0], plain[0])
    with pytest.raises(UserWarning, match="was attached already"):
        lv.attach(case.model, Toy(TowardsImage))
    assert tiny_models.footprint(case.model) == attached
    assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, once, strict=True))
    first.remove()
    assert tiny_models.footprint(case.model) == before


def test_an_intervention_that_chooses_tokens_can_be_attached_again() -> None:
    case = tiny_models.llava()
    lv.attach(case.model, lv.SGRS())
    with pytest.warns(UserWarning, match="SGRS was attached already"):
        lv.attach(case.model, lv.SGRS())
    assert lv.detach(case.model) == (lv.SGRS(),)


def test_blocks_are_listed_and_end_by_themselves() -> None:
    case = tiny_models.llava()
    with lv.intervene(case.model, *ALL):
        assert lv.attached(case.model) == ALL
        assert lv.detach(case.model) == ()
        generate(case)
    assert lv.attached(case.model) == ()


def test_an_intervention_that_never_ran_warns() -> None:
    case = tiny_models.llava()
    with (
        pytest.warns(
            UserWarning, match="Shifted changed nothing in 0 forwards: no forward of the model ran in this thr"
        ),
        lv.intervene(case.model, Toy(Shifted)),
    ):
        pass
    handle = lv.attach(case.model, Toy(Shifted))
    with pytest.warns(UserWarning, match="no forward of the model ran in any thread"):
        handle.remove()


def test_a_deep_copy_made_inside_a_block_runs_its_own_weights() -> None:
    case = tiny_models.llava()
    plain = generate(case)
    untouched = tiny_models.footprint(case.model)
    with lv.intervene(case.model, *ALL):
        edited = generate(case)
        twin, loaded = copy.deepcopy(case.model), copy.deepcopy([case.model])[0]
        assert tiny_models.footprint(twin)[0] == untouched[0]
        with torch.no_grad():
            twin.lm_head.weight.zero_()
        zero = twin.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
        assert not any(logits.any() for logits in zero.logits)
        same = loaded.generate(**case.inputs, **OPTIONS, return_dict_in_generate=True, output_logits=True)
        assert all(torch.equal(a, b) for a, b in zip(same.logits, plain.logits, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, edited.logits, strict=True))
        part = copy.deepcopy(case.model.model.language_model)
        hidden = part(inputs_embeds=torch.ones(1, 3, 48)).last_hidden_state
    assert torch.equal(hidden, case.model.model.language_model(inputs_embeds=torch.ones(1, 3, 48)).last_hidden_state)
    assert tiny_models.footprint(case.model) == untouched


def test_a_users_own_generate_is_called_and_put_back() -> None:
    case = tiny_models.llava()
    own = partial(case.model.generate, max_new_tokens=2)
    case.model.generate = own
    with lv.intervene(case.model, *ALL) as handle:
        assert case.model.generate is not own
        assert case.model.generate(**case.inputs).shape[1] == case.inputs["input_ids"].shape[1] + 2
    assert handle.report()[0]["forwards"] == 2
    assert vars(case.model)["generate"] is own
    from_inputs(case.model, case.inputs, max_new_tokens=2, interventions=ALL)
    assert vars(case.model)["generate"] is own


def test_a_generate_that_the_user_sets_inside_a_block_stays() -> None:
    case = tiny_models.llava()
    with lv.intervene(case.model, *ALL):
        case.model.generate = partial(case.model.generate, max_new_tokens=2)
        edited = case.model.generate(**case.inputs, **(OPTIONS | {"max_new_tokens": 2}))
    own = case.model.generate
    assert own is vars(case.model)["generate"]
    assert own(**case.inputs, **(OPTIONS | {"max_new_tokens": 2})).shape == edited.shape


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call gives in a thread of its own; its exception is raised here."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert found, "the thread did not end"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def test_a_block_acts_in_its_own_thread_only() -> None:
    case = tiny_models.llava()
    plain = generate(case).logits
    with lv.intervene(case.model, *ALL) as handle:
        edited = generate(case).logits
        elsewhere = in_thread(lambda: generate(case).logits)
        assert in_thread(lambda: lv.attached(case.model)) == ()
        traced = in_thread(lambda: from_inputs(case.model, case.inputs, **OPTIONS))
        assert traced.effects == ()
        inner = in_thread(lambda: from_inputs(case.model, case.inputs, interventions=ALL[2:], **OPTIONS))
        assert [effect["name"] for effect in inner.effects] == ["Shifted"]
        assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, edited, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, elsewhere, strict=True))
    assert not torch.equal(plain[0], edited[0])
    assert handle.report()[0]["forwards"] == 12


def test_a_plain_generate_beside_an_edited_one_is_untouched_and_the_edited_one_is_edited() -> None:
    case = tiny_models.llava()
    plain = generate(case).logits
    with lv.intervene(case.model, *ALL):
        edited = generate(case).logits
    options: dict[str, Any] = {"gradients": True, "max_new_tokens": 6}
    limit = lv.estimate(case.model, inputs=case.inputs, layerwise=True, **options).peak
    assert limit < lv.estimate(case.model, inputs=case.inputs, **options).peak
    stop, wrong, runs = threading.Event(), [], []

    def beside() -> None:
        while not stop.is_set():
            found = generate(case).logits
            runs.append(1)
            wrong.extend(n for n, (a, b) in enumerate(zip(plain, found, strict=True)) if not torch.equal(a, b))

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        for _ in range(5):
            with lv.intervene(case.model, *ALL):
                found = generate(case).logits
            assert all(torch.equal(a, b) for a, b in zip(edited, found, strict=True))
            traced = from_inputs(case.model, case.inputs, interventions=ALL, gradients=True, **OPTIONS)
            assert traced.provenance["replay"]["difference"] < 1e-4
            lean = from_inputs(case.model, case.inputs, gradients=True, max_memory=limit, **OPTIONS)
            assert lean.provenance["replay"]["layerwise"]
    finally:
        stop.set()
        thread.join(60)
    assert runs
    assert not wrong


def test_attach_acts_in_every_thread_and_traces_wait_for_each_other() -> None:
    case = tiny_models.llava()
    expected = from_inputs(case.model, case.inputs, interventions=ALL, **OPTIONS)
    handle = lv.attach(case.model, *ALL)
    results: list[Any] = []
    calls = [lambda: results.append(from_inputs(case.model, case.inputs, **OPTIONS)) for _ in range(4)]
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert in_thread(lambda: lv.attached(case.model)) == ALL
    handle.remove()
    assert len(results) == 4
    for one in results:
        assert one.answer_ids.tolist() == expected.answer_ids.tolist()
        assert torch.equal(one.attention, expected.attention)
        assert [effect["forwards"] for effect in one.effects] == [6, 6, 6]


def test_two_choosers_clash_only_where_they_act_together() -> None:
    case = tiny_models.llava()
    with lv.intervene(case.model, lv.SGRS()):
        inside = in_thread(lambda: from_inputs(case.model, case.inputs, interventions=[lv.SGRS(k=3)], **OPTIONS))
        assert inside.effects[0]["tokens"] == 6
        with pytest.raises(InterventionError, match="SGRS and SGRS"):
            lv.attach(case.model, lv.SGRS(k=3))
        generate(case)


def test_a_block_without_interventions_changes_nothing() -> None:
    case = tiny_models.llava()
    plain, before = generate(case).logits, tiny_models.footprint(case.model)
    functions = dict(ALL_ATTENTION_FUNCTIONS)
    with lv.intervene(case.model) as handle:
        assert handle.interventions == ()
        assert dict(ALL_ATTENTION_FUNCTIONS) == functions
    lv.attach(case.model)
    assert dict(ALL_ATTENTION_FUNCTIONS) == functions
    assert tiny_models.footprint(case.model) == before
    assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, plain, strict=True))


def test_a_replacement_whose_warning_is_an_error_leaves_the_first() -> None:
    case = tiny_models.llava()
    generate(case)  # which leaves attributes of its own
    before = tiny_models.footprint(case.model)
    first = lv.attach(case.model, Toy(TowardsImage))
    edited = generate(case).logits
    with pytest.raises(UserWarning, match="this one replaces"):  # pytest makes warnings errors
        lv.attach(case.model, Toy(TowardsImage))
    assert lv.attached(case.model) == first.interventions
    assert all(torch.equal(a, b) for a, b in zip(generate(case).logits, edited, strict=True))
    first.remove()
    assert tiny_models.footprint(case.model) == before


def test_hooks_of_the_user_see_outputs_without_the_graph_of_an_intervention() -> None:
    case = tiny_models.llava()
    seen: list[bool] = []
    hook = case.model.register_forward_hook(lambda _module, _inputs, output: seen.append(output.logits.requires_grad))
    with lv.intervene(case.model, lv.SGRS(alpha=0.9)) as handle:
        generate(case)
    hook.remove()
    assert handle.report()[0]["name"] == "SGRS"
    assert len(seen) > 1
    assert not any(seen)
