"""Spans of an answer: the twin, markers as processors declare them, special tokens, and what is refused."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lvlmscope as lv
from lvlmscope.errors import ModelInputError
from lvlmscope.inputs.thinking_markers import declared_markers
from lvlmscope.tiny import scene
from lvlmscope.traces.span_search import spans_in
from tests.reference import answer_spans as twin

THINK = ("<think>", "</think>")
ANSWER = "<think> a dog or a cat</think> A dog."


@pytest.fixture(scope="module")
def model() -> lv.LoadedModel:
    return lv.load("tiny", check=False)


def thinking(model: lv.LoadedModel, end: str = "") -> lv.LoadedModel:
    """The bundled model with a template that knows what thinking is."""
    made = copy.copy(model.processor)
    made.chat_template = model.processor.chat_template + "{# <think></think> #}" + end
    return lv.LoadedModel(model=model.model, processor=made, name="thinking", family=model.family)


@given(
    st.lists(st.sampled_from(["<a", ">", "</a>", "<a>", "x", " y", "</", "a>", "z<a>w"]), max_size=12), st.booleans()
)
def test_spans_equal_their_twin(pieces: list[str], opened: bool) -> None:
    told = twin.characters("".join(pieces), "<a>", "</a>", opened)
    stray = any("".join(pieces).startswith("</a>", n) and one == "answer" for n, one in enumerate(told[:-1]))
    if stray:
        with pytest.raises(ModelInputError, match="which nothing opened"):
            spans_in(pieces, ("<a>", "</a>"), opened=opened)
    else:
        assert list(spans_in(pieces, ("<a>", "</a>"), opened=opened)) == twin.tokens(pieces, "<a>", "</a>", opened)


def test_a_token_without_text_belongs_to_what_follows_it() -> None:
    assert spans_in(["<a>", "", "猫", "</a>", "", "犬"], ("<a>", "</a>"), opened=False) == (
        *("marker", "thinking", "thinking", "marker", "answer", "answer"),
    )


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, None),
        ({"chat_template": "{{ x.split('</think>') }}"}, None),
        ({"chat_template": "<think>{{ x }}</think>"}, THINK),
        ({"chat_template": "<think></think>[THINK][/THINK]"}, None),
        ({"added": ["◁think▷", "◁/think▷"]}, ("◁think▷", "◁/think▷")),
        ({"added": ["<think>", "</think>"], "chat_template": "<think></think>"}, THINK),
        (
            {
                "chat_template": "<think></think>",
                "response_template": {"fields": {"content": {}, "thinking": {"open": "<t>\n", "close": "</t>"}}},
            },
            ("<t>", "</t>"),
        ),
        ({"response_template": {"fields": {"thinking": {"open_pattern": "<t+>", "close": "</t>"}}}}, None),
    ],
)
def test_markers_are_taken_where_one_pair_is_declared(declared: dict[str, Any], expected: Any) -> None:
    added = declared.pop("added", [])
    tokenizer = SimpleNamespace(**declared, get_added_vocab=lambda: dict.fromkeys(added, 7))
    assert declared_markers(SimpleNamespace(tokenizer=tokenizer)) == expected
    assert declared_markers(None) is None


def test_a_trace_knows_the_spans_of_a_model_that_declares_markers(model: lv.LoadedModel, tmp_path: Any) -> None:
    image = scene("neutral", 0).image
    trace = lv.trace(thinking(model), image, "What is it?", answer=ANSWER, progress=False)
    text = dict.fromkeys(("thinking", "answer", "marker"), "")
    assert trace.spans is not None
    for piece, name in zip(trace.answer_tokens, trace.spans, strict=True):
        text[name] += piece
    assert text == {"thinking": " a dog or a cat", "answer": " A dog.", "marker": "<think></think>"}
    assert tuple(lv.layer_image_entropy(trace)["span"].values) == trace.spans
    assert tuple(trace.to_xarray()["span"].values) == trace.spans
    trace.save(tmp_path / "t.safetensors")
    assert lv.load_trace(tmp_path / "t.safetensors").spans == trace.spans
    begun = lv.trace(thinking(model, "<think>\n"), image, "What?", answer="a dog</think> A dog.", progress=False)
    assert begun.spans is not None
    assert begun.spans[0] == "thinking"
    assert begun.spans[-1] == "answer"
    reduced = lv.trace(
        thinking(model), image, "What is it?", answer=ANSWER, progress=False, keep="signals", signals=["log_prob"]
    )
    assert reduced.spans == trace.spans
    assert tuple(reduced.signals["span"].values) == trace.spans


def test_without_declared_markers_nothing_is_guessed(model: lv.LoadedModel) -> None:
    plain = lv.trace(model, scene("neutral", 0).image, "What is it?", answer=ANSWER, progress=False)
    assert plain.spans is None
    assert "span" not in lv.layer_image_entropy(plain).coords
    labelled = lv.label_spans(plain, THINK)
    assert labelled.attention is plain.attention
    assert (
        labelled.spans
        == lv.trace(thinking(model), scene("neutral", 0).image, "What is it?", answer=ANSWER, progress=False).spans
    )
    stray = lv.trace(thinking(model), scene("neutral", 0).image, "What?", answer="a dog</think> A dog.", progress=False)
    assert stray.spans is None  # whether it thought from the beginning is not known
    with pytest.raises(ModelInputError, match="</think> at character 6 of the answer, which nothing opened"):
        lv.label_spans(stray, THINK)
    opened = lv.label_spans(stray, THINK, opened=True).spans
    assert opened is not None
    assert opened[0] == "thinking"


def test_markers_that_are_special_tokens_are_found_with_the_processor(model: lv.LoadedModel) -> None:
    processor = copy.deepcopy(model.processor)
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["Ġknife", "Ġcake"]})
    made = lv.LoadedModel(model=model.model, processor=processor, name="special", family=model.family)
    ids = processor.tokenizer("Ġknife a dogĠcake A dog.", add_special_tokens=False)["input_ids"]
    trace = lv.trace(made, scene("neutral", 0).image, "What is it?", answer=ids, progress=False)
    assert "knife" not in trace.answer
    assert trace.spans is None
    found = lv.label_spans(trace, (" knife", " cake"), processor=processor).spans
    assert found is not None
    assert [piece for piece, name in zip(trace.answer_tokens, found, strict=True) if name == "marker"] == ["", ""]
    assert (
        "".join(p for p, name in zip(trace.answer_tokens, found, strict=True) if name == "answer").strip() == "A dog."
    )


def test_bad_input_is_refused(model: lv.LoadedModel) -> None:
    trace = lv.planted_trace()
    with pytest.raises(ModelInputError, match="got no markers; expected: the texts around what the model thinks"):
        lv.label_spans(trace)
    with pytest.raises(ModelInputError, match="a processor that declares no markers, or several"):
        lv.label_spans(trace, processor=model.processor)
    for wrong in (["<a>"], ["<a>", "<a>"], ["<a>", " "]):
        with pytest.raises(ModelInputError, match="two texts that differ"):
            lv.label_spans(trace, wrong)
