"""Knockout: its twins in float64, families, batches, what may not change, planted cuts, and bad input."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import lvlmscope as lv
from lvlmscope.errors import GeometryError, ModelInputError, ReplayError, UnsupportedModelError
from lvlmscope.tiny import scene
from lvlmscope.traces.token_layout import ImageLayout, Layout
from lvlmscope.traces.trace import Trace
from tests.reference.attention_knockout import llava_log_probs, masked_log_probs
from tests.support import tiny_models
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_others import OTHERS
from tests.support.traced import from_inputs

OPTIONS: dict[str, Any] = {
    "max_new_tokens": 4,
    "min_new_tokens": 4,
    "suppress_tokens": tiny_models.SUPPRESSED,
    "do_sample": False,
    "progress": False,
}
STEPS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def small():
    case = tiny_models.llava(1, dtype=torch.float64)
    return case, from_inputs(case.model, case.inputs, **OPTIONS)


@pytest.fixture(scope="module")
def bundled():
    model, shown = lv.load("tiny", check=False), scene("prior", 0)
    return model, lv.trace(model, shown.image, "Describe the image.", max_new_tokens=12, progress=False), shown


def rows_of(trace: Trace, to: Any) -> list[int]:
    """Query rows by name, from the kinds of tokens."""
    first, count = trace.num_prompt_keys - 1, len(trace.tokens)
    if to in ("question", "image"):
        return [row for row in range(first) if trace.layout.kinds[row] == to]
    return list(range(first, count)) if to == "answer" else list(range(count)) if to == "all" else list(to)


@pytest.mark.parametrize("to", ["answer", "question", "image", "all", [20, 26]])
def test_it_equals_the_loops_of_the_paper(small, to: Any) -> None:
    case, trace = small
    found = lv.knockout(case.model, trace, words=STEPS, to=to, layers=[[0], [1, 2]], inputs=case.inputs)
    keys = trace.image_keys.nonzero().flatten().tolist()
    for number, layers in enumerate([{0}, {1, 2}]):
        named: dict[str, Any] = {"layers": layers, "rows": rows_of(trace, to), "keys": keys}
        cut = llava_log_probs(case.model, case.inputs, trace.answer_ids, **named)
        np.testing.assert_allclose(found[number], trace.log_probs - cut, atol=1e-5)
    assert float(abs(found).max()) > 1e-2


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "smolvlm"])
@pytest.mark.parametrize("from_", ["image", "question"])
def test_it_equals_a_full_forward_under_a_mask_made_by_hand(name: str, from_: Any) -> None:
    case = FAMILIES[name](1, dtype=torch.float64)
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    options: dict[str, Any] = {"words": STEPS, "from_": from_, "layers": 2, "inputs": case.inputs}
    keys = [key for key, kind in enumerate(trace.layout.kinds) if kind == from_]
    found = {to: lv.knockout(case.model, trace, to=to, **options) for to in ("answer", "all", "question")}
    case.model.set_attn_implementation("eager")
    for to, lost in found.items():
        for window in lost.window.values:
            one = lost.sel(window=window)
            named: dict[str, Any] = {
                "layers": range(int(one.first_layer), int(one.last_layer) + 1),
                "rows": rows_of(trace, to),
                "keys": keys,
            }
            cut = masked_log_probs(case.model, case.inputs, trace.answer_ids, **named)
            np.testing.assert_allclose(one, trace.log_probs - cut, atol=1e-5)
    assert max(float(abs(lost).max()) for lost in found.values()) > 1e-3


def test_rows_of_a_words_own_are_cut_for_that_word_alone(small) -> None:
    case, trace = small
    found = lv.knockout(case.model, trace, words=STEPS, to="word", layers=1, inputs=case.inputs)
    first = trace.num_prompt_keys - 1
    for step in STEPS:
        alone = lv.knockout(case.model, trace, words=step, to=[first + step], layers=1, inputs=case.inputs)
        np.testing.assert_allclose(found[:, step], alone[:, 0], atol=1e-6)


EVERY = sorted(set(FAMILIES) - {"mllama"}) + sorted(set(OTHERS) - {"instructblip_t5", "florence2"})


@pytest.mark.parametrize("name", EVERY)
def test_windows_of_a_batch_are_as_alone_in_every_family(name: str) -> None:
    case = (FAMILIES | OTHERS)[name](1)
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    before = tiny_models.footprint(case.model)
    options: dict[str, Any] = {"words": STEPS, "to": "all", "layers": 1, "inputs": case.inputs}
    together = lv.knockout(case.model, trace, batch_size=3, **options)
    alone = lv.knockout(case.model, trace, batch_size=1, **options)
    np.testing.assert_allclose(together, alone, atol=2e-4)
    np.testing.assert_allclose(together.score, trace.log_probs, atol=2e-4)
    assert float(abs(together).max()) > 1e-3
    assert tiny_models.footprint(case.model) == before


def test_what_cannot_act_does_not(small) -> None:
    case, trace = small
    options: dict[str, Any] = {"words": STEPS, "layers": 1, "inputs": case.inputs}
    keys = trace.image_keys.nonzero().flatten()
    # A row's own key stays, and no row sees a later one
    assert np.all(lv.knockout(case.model, trace, from_=[int(keys[-1])], to=[int(keys[-1])], **options) == 0)
    assert np.all(lv.knockout(case.model, trace, from_=keys, to=[0, 1], **options) == 0)
    # In the last layer no row passes anything on: the first word does not change with the rows after it
    last = lv.knockout(case.model, trace, to=[trace.num_prompt_keys], **options)
    assert np.all(last.isel(window=-1).values[[0, 2, 3]] == 0)
    assert float(last.isel(window=-1).values[1]) != 0


def test_half_precision_changes_nothing_where_nothing_is_cut() -> None:
    case = tiny_models.llava(1, dtype=torch.bfloat16)
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    found = lv.knockout(case.model, trace, words=STEPS, from_=[3], to=[0, 1, 2], layers=1, inputs=case.inputs)
    assert np.all(found == 0)


def test_steps_give_what_a_whole_forward_gives(small) -> None:
    case, trace = small
    options: dict[str, Any] = {"words": STEPS, "to": "all", "layers": 2, "inputs": case.inputs}
    block = lv.knockout(case.model, trace, **options)
    told = trace.provenance | {"replay": trace.provenance["replay"] | {"path": "steps", "reason": "asked for"}}
    steps = lv.knockout(case.model, dataclasses.replace(trace, provenance=told), **options)
    np.testing.assert_allclose(steps, block, atol=1e-5)


def test_a_windowed_cache_keeps_the_positions_of_its_keys() -> None:
    case = FAMILIES["gemma3"](1)
    case.model.config.text_config.sliding_window = 8
    trace = from_inputs(case.model, case.inputs, **OPTIONS)
    told = trace.provenance | {"replay": trace.provenance["replay"] | {"path": "steps", "reason": "asked for"}}
    options: dict[str, Any] = {"words": STEPS, "from_": "question", "to": "all", "layers": 2, "inputs": case.inputs}
    block = lv.knockout(case.model, trace, **options)
    np.testing.assert_allclose(
        lv.knockout(case.model, dataclasses.replace(trace, provenance=told), **options), block, atol=1e-4
    )
    assert float(abs(block).max()) > 1e-3


def test_the_word_that_reads_the_image_falls_and_the_invented_one_does_not(bundled) -> None:
    model, trace, shown = bundled
    assert "handbag" in shown.present
    assert "airplane" not in shown.present
    found = lv.knockout(model, trace, words=["handbag", "airplane"], to="all", layers=[None, (0.0, 0.5)])
    assert float(found.sel(window="0-7", word="handbag")) > 2
    assert abs(float(found.sel(window="0-7", word="airplane"))) < 0.1
    box = shown.boxes[shown.objects.index("handbag")]
    near, far = (
        lv.knockout(model, trace, words="handbag", from_=where, to="all", layers=[None]).item()
        for where in (box, (90, 0, 112, 20))
    )
    assert near > 0.1 > abs(far)
    assert near > 3 * abs(far)


def test_an_image_and_a_prompt_are_traced(bundled) -> None:
    model, trace, shown = bundled
    options: dict[str, Any] = {"words": "handbag", "layers": 2}
    own = lv.knockout(model, shown.image, "Describe the image.", max_new_tokens=12, **options)
    np.testing.assert_array_equal(own, lv.knockout(model, trace, **options))
    assert own.attrs["from_"] == "image"
    assert own.attrs["num_keys"] == 64
    assert own.window.values.tolist()[:3] == ["0", "0-1", "1-2"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input(bundled, small) -> None:
    model, trace, shown = bundled
    for given, expected in (
        ({"from_": "picture"}, "from_='picture'; expected: 'image', 'question'"),
        ({"from_": [3, 99]}, r"from_=\[3, 99\]; expected: whole numbers from 0 to 88"),
        ({"from_": []}, r"from_=\[\], which holds no token"),
        ({"from_": (200, 0, 220, 9)}, r"from_=\(200, 0, 220, 9\), which holds no token"),
        ({"from_": ("a", 1, 2, 3)}, r"from_=\('a', 1, 2, 3\), a box of something else; expected: four numbers"),
        ({"from_": (None, 1, 2, 3)}, "expected: four numbers"),
        ({"from_": (0, 0, 9, 9), "image_index": 1}, "image 1; expected: 0 to 0"),
        ({"to": "words"}, "to='words'; expected: 'answer', 'word'"),
        ({"to": [-1]}, r"to=\[-1\]; expected: whole numbers from 0 to 88"),
        ({"layers": 0}, "layers=0; expected: a number of layers, 1 or more"),
        ({"layers": [1, 2]}, r"layers=\[1, 2\]; expected: a number of layers"),
        ({"layers": []}, r"layers=\[\]; expected"),
        ({"layers": [[9]]}, "layers 9; expected: a list of ints from -8 to 7"),
        ({"batch_size": 0}, "batch_size=0; expected: a whole number from 1"),
        ({"words": "cat"}, "'cat'; expected: The, image"),
        ({"prompt": "Why?"}, "a trace with prompt; expected: a trace alone"),
        ({"max_new_tokens": 3}, "a trace with max_new_tokens; expected"),
    ):
        with pytest.raises(ModelInputError, match=expected):
            lv.knockout(model, trace, **given)
    with pytest.raises(ReplayError, match="differ from the trace's by"):
        lv.knockout(model, dataclasses.replace(trace, log_probs=trace.log_probs - 1), words=0)
    case, without = small
    with pytest.raises(ModelInputError, match="a trace without its images"):
        lv.knockout(case.model, without)
    cut = lv.trace(model, shown.image, "Describe the image.", answer="A", keep="image_answer", progress=False)
    with pytest.raises(ModelInputError, match=r"kept the keys of image and answer only.*keep='all'"):
        lv.knockout(model, cut)
    reason = ImageLayout(cells=trace.layout.images[0].cells, reason="no grid")
    unplaced = dataclasses.replace(trace, layout=Layout(kinds=trace.layout.kinds, images=(reason,)))
    with pytest.raises(GeometryError, match="no grid"):
        lv.knockout(model, unplaced, from_=(0, 0, 9, 9))
    crossing = FAMILIES["mllama"](1)
    its = from_inputs(crossing.model, crossing.inputs, **OPTIONS)
    with pytest.raises(UnsupportedModelError, match="looks at the image in cross-attention layers"):
        lv.knockout(crossing.model, its, inputs=crossing.inputs, from_=[0])
