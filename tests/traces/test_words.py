"""Words and the steps that wrote them."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lvlmscope.errors import ModelInputError
from lvlmscope.traces.word_boundaries import word_edges
from lvlmscope.traces.words import Word, find_word, marked_words, words_of
from tests.support.drawn_figures import with_answer

PIECES = (" A", " traf", "fic", " light", ",", " a", " dog", ".", "")


def test_a_word_of_several_tokens_has_all_their_steps():
    words = words_of(with_answer(*PIECES))
    assert [(word.text, word.steps) for word in words] == [
        ("A", (0,)),
        ("traffic", (1, 2)),
        ("light", (3,)),
        ("a", (5,)),
        ("dog", (6,)),
    ]


def test_several_words_are_found_together_and_in_any_case():
    found = find_word(with_answer(*PIECES), "Traffic Light")
    assert (found.text, found.steps) == ("traffic light", (1, 2, 3))


def test_a_part_of_a_word_is_not_the_word():
    with pytest.raises(ModelInputError, match=r"show a word: got 'raf'; expected: A, traffic, light, a, dog; choose"):
        find_word(with_answer(*PIECES), "raf")


@pytest.mark.parametrize("asked", ["", "  "])
def test_an_empty_word_is_refused(asked):
    with pytest.raises(ModelInputError, match="show a word"):
        find_word(with_answer(*PIECES), asked)


def test_a_step_counts_from_either_end():
    trace = with_answer(*PIECES)
    assert find_word(trace, -3).text == "dog"
    assert find_word(trace, 6).steps == find_word(trace, -3).steps == (6,)
    assert find_word(with_answer(*PIECES), np.int64(-3)).text == "dog"  # as numpy and xarray give it


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("step", [torch.tensor(6), xr.DataArray(6), np.array(6)])
def test_a_step_may_be_another_librarys_number(step):
    trace = with_answer(*PIECES)
    assert find_word(trace, step).text == "dog"
    assert marked_words(trace, words_of(trace), [step]) == {4}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("wrong", [None, True, 2.5, b"dog", ["dog"]])
def test_what_is_no_word_is_refused(wrong):
    with pytest.raises(ModelInputError, match=r"show a word: got .*expected: a word's text, a step, or a Word"):
        find_word(with_answer(*PIECES), wrong)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("wrong", [3, 2.5, True])
def test_marks_are_a_list(wrong):
    trace = with_answer(*PIECES)
    with pytest.raises(ModelInputError, match=r"mark words: got .*expected: a list of words, steps or mentions"):
        marked_words(trace, words_of(trace), wrong)


@pytest.mark.parametrize("step", [9, -10])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ModelInputError, match=rf"got step {step}; expected: -9 to 8; choose another"):
        find_word(with_answer(*PIECES), step)


def test_a_step_without_text_is_called_by_its_number():
    assert find_word(with_answer(*PIECES), 8).text == "step 8"


def test_punctuation_alone_and_scripts_without_spaces_still_have_words():
    assert [word.text for word in words_of(with_answer("!", "!", " ?"))] == ["!!", "?"]
    assert [(word.text, word.steps) for word in words_of(with_answer("猫と", "犬"))] == [
        ("猫", (0,)),
        ("と", (0,)),
        ("犬", (1,)),
    ]


def test_marks_are_steps_spans_or_mentions():
    trace = with_answer(*PIECES)
    words = words_of(trace)
    mention = Word(text="dog", start=trace.answer.index("dog"), end=trace.answer.index("dog") + 3, steps=())
    assert marked_words(trace, words, [2, (1, 2), mention]) == {1, 0, 4}


def test_marks_are_words_wherever_they_stand():
    trace = with_answer(*PIECES)
    words = words_of(trace)
    assert [words[n].text for n in sorted(marked_words(trace, words, ["a", "Traffic light"]))] == [
        "A",
        "traffic",
        "light",
        "a",
    ]
    assert marked_words(trace, words, "dog") == {4}  # one text is no list of letters
    with pytest.raises(ModelInputError, match="got 'cake'; expected: A, traffic, light, a, dog"):
        marked_words(trace, words, ["cake"])


def test_every_mention_of_a_word_is_marked_and_the_first_is_found() -> None:
    trace = with_answer("A", " dog", " and", " a", " hot", "dog", ",", " a", " dog", ".")
    words = words_of(trace)
    assert [words[n].text for n in sorted(marked_words(trace, words, ["dog"]))] == ["dog", "dog"]
    assert sorted(marked_words(trace, words, ["dog"])) == [1, 6]  # not the end of another word
    assert find_word(trace, "dog").steps == (1,)
    last = trace.answer.rindex("dog")
    assert marked_words(trace, words, [(last, last + 3)]) == {6}
    assert marked_words(trace, words, [8]) == {6}


def test_a_mark_reaches_no_word_that_only_touches_it() -> None:
    trace = with_answer("猫", "と犬", "と", "猫")
    words = words_of(trace)
    assert [(word.text, word.steps) for word in words] == [
        ("猫", (0,)),
        ("と", (1,)),
        ("犬", (1,)),
        ("と", (2,)),
        ("猫", (3,)),
    ]
    assert [marked_words(trace, words, [(n, n + 1)]) for n in range(5)] == [{0}, {1}, {2}, {3}, {4}]
    assert marked_words(trace, words, [(1, 3)]) == {1, 2}
    assert marked_words(trace, words, ["猫"]) == {0, 4}
    assert marked_words(trace, words, [1]) == {1, 2}  # a token of two words


@pytest.mark.parametrize("mark", [1.5, (1, 2, 3), None])
def test_a_mark_of_another_kind_is_refused(mark):
    trace = with_answer(*PIECES)
    with pytest.raises(ModelInputError, match=r"mark words: got .* a step, a pair"):
        marked_words(trace, words_of(trace), [mark])


@pytest.mark.parametrize("span", [(0, 99), (-1, 2), (3, 3)])
def test_a_mark_outside_the_answer_is_refused(span):
    trace = with_answer(*PIECES)
    with pytest.raises(ModelInputError, match="take the spans from this answer"):
        marked_words(trace, words_of(trace), [span])


SCRIPTS = {
    "Chinese": ("图片中有一只", "猫", "坐在沙发上", "。", "猫"),
    "Japanese": ("写真には犬と", "猫", "が写っています", "。", "猫"),
    "Thai": ("ในภาพมี", "แมว", "สองตัว", "", "แมว"),
    "Hindi": ("एक ", "बिल्ली", " मेज़ पर बैठी है", "।", "बिल्ली"),
    "vowelled Arabic": ("هنا ", "القِطَّةُ", " على الطاولةِ", ".", "القطة"),
    "Turkish": ("Bir ", "IŞIK", " var", ".", "ışık"),
    "Turkish, dotted": ("Bir ", "İNEK", " var", ".", "inek"),
    "full width": ("A ", "Ｄｏｇ", " sits", ".", "dog"),
    "decomposed": ("Un ", "e\u0301le\u0301phant", " gris", ".", "éléphant"),
    "soft hyphen": ("An ", "ele\u00adphant", "", ".", "elephant"),
    "typographic": ("The ", "dog’s", " bowl", ".", "dog's"),
    "after an emoji": ("🙂👩‍👩‍👧 A ", "dog", " sits", ".", "Dog"),
}


@pytest.mark.parametrize("pieces", SCRIPTS.values(), ids=SCRIPTS)
def test_words_of_every_script_are_found_and_marked(pieces):
    *answer, asked = pieces
    trace = with_answer(*answer)
    words = words_of(trace)
    assert answer[1] in [word.text for word in words]
    found = find_word(trace, asked)
    assert (found.text, found.steps) == (answer[1], (1,))
    assert [words[n].text for n in marked_words(trace, words, [asked])] == [answer[1]]


@pytest.mark.parametrize(
    ("text", "part"), [("马上就来", "马"), ("หมากและอื่น", "หมา"), ("बिल्लीयाँ", "बिल्ली"), ("o'clock", "clock")]
)
def test_a_part_of_a_word_of_another_script_is_not_the_word(text, part):
    with pytest.raises(ModelInputError, match="show a word"):
        find_word(with_answer(text), part)


def test_han_characters_that_the_dictionary_divides_otherwise_are_found():
    assert find_word(with_answer("猫坐在木", "桌上"), "木桌").steps == (0, 1)


def test_several_words_are_found_over_hyphens_and_line_breaks():
    trace = with_answer("Traffic", "-", "lights", " and a", " traffic\n", " lights.")
    assert find_word(trace, "traffic lights").text == "Traffic-lights"
    assert marked_words(trace, words_of(trace), ["traffic lights"]) == {0, 3, 4}


def test_a_sentence_without_a_space_after_its_stop_ends_a_word():
    assert find_word(with_answer("A dog.", "A cat"), "dog").steps == (0,)


def test_first_bytes_of_a_character_belong_to_its_word_and_other_tokens_without_text_to_none():
    trace = with_answer("", "A", "", " ", "", "", "猫", "", "x")
    assert [(word.text, word.steps) for word in words_of(trace)] == [("A", (1,)), ("猫", (4, 5, 6)), ("x", (8,))]
    assert find_word(trace, "猫").steps == (4, 5, 6)


def test_half_a_surrogate_pair_is_no_reason_to_stop():
    assert [word.text for word in words_of(with_answer("a \ud83d", " dog"))] == ["a", "dog"]


@given(st.lists(st.text(alphabet="ab ,.猫'\n🙂แé\u0301-ŞI", max_size=4), min_size=1, max_size=12))
def test_every_word_lies_where_it_says_and_its_steps_hold_it(pieces):
    trace = with_answer(*pieces)
    for word in words_of(trace):
        assert trace.answer[word.start : word.end] == word.text
        assert word.text in "".join(pieces[step] for step in word.steps)


def test_a_full_stop_without_a_space_after_it_is_between_words() -> None:
    text = "the lake.Then a cat"
    stop = text.index(".")
    assert {stop, stop + 1} <= word_edges(text)
    assert stop - 1 not in word_edges(text)
