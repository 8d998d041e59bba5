"""Which words name an object, in any script and typography."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlmscope.diagnostics import planted_trace
from lvlmscope.errors import EvaluationError
from lvlmscope.evaluation import Vocabulary, chair, coco_vocabulary, label_words
from lvlmscope.evaluation.metrics.caption_parts import complete_length, is_denied
from tests.support.drawn_figures import with_answer

WORDS = Vocabulary({"bear": ["bear"], "teddy bear": ["teddy bear"], "dog": ["dog", "puppy"], "mouse": ["mouse"]})


def named(text: str, words: Vocabulary = WORDS, **options: bool) -> list[str]:
    return [mention.category for mention in words.mentions(text, **options)]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("A teddy-bear.", ["teddy-bear"]),
        ("A teddy\nbear, a teddy  bear", ["teddy\nbear", "teddy  bear"]),
        ("TEDDY BEARS and Teddy‑Bear", ["TEDDY BEARS", "Teddy‑Bear"]),
        ("teddy, bear", ["bear"]),
        ("The dog’s mice; dogs' mouse", ["dog", "mice", "dogs", "mouse"]),
        ("puppies", ["puppies"]),
        ("dogged bearings, a dog-like man, an ex-bear", []),
        ("🙂 a dog 🙂 a bear", ["dog", "bear"]),
    ],
)
def test_forms_are_found_over_typography_and_their_spans_are_exact(text: str, spans: list[str]) -> None:
    assert [text[mention.start : mention.end] for mention in WORDS.mentions(text)] == spans


SCRIPTS = {
    "Chinese": ("猫", "图片中有一只猫坐在沙发上。", "猫"),
    "two Han characters anywhere": ("木桌", "猫坐在木桌上", "木桌"),
    "Japanese": ("犬", "写真には犬が写っています。", "犬"),
    "katakana": ("テーブル", "テーブルの上", "テーブル"),
    "Thai": ("แมว", "ในภาพมีแมวสองตัว", "แมว"),
    "Hindi": ("बिल्ली", "एक बिल्ली मेज़ पर है।", "बिल्ली"),
    "vowelled Arabic": ("قطة", "هنا قِطَّةٌ كبيرة", "قِطَّةٌ"),
    "Turkish": ("inek", "Bir İNEK var.", "İNEK"),
    "dotless i": ("balık ışığı", "BALIK IŞIĞI", "BALIK IŞIĞI"),
    "Korean": ("고양이", "고양이 두 마리", "고양이"),
    "emoji": ("🐶", "Look: 🐶!", "🐶"),
    "symbols": ("c++", "A C++ book", "C++"),
    "line break": ("沙发", "猫在沙\n发上", "沙\n发"),
}


@pytest.mark.parametrize(("form", "text", "span"), SCRIPTS.values(), ids=SCRIPTS)
def test_words_of_every_script_are_found(form: str, text: str, span: str) -> None:
    (mention,) = Vocabulary({"it": [form]}).mentions(text)
    assert text[mention.start : mention.end] == span


@pytest.mark.parametrize(
    ("form", "text"), [("马", "马上就来"), ("狗", "热狗"), ("หมา", "หมากและอื่น"), ("clock", "o'clock")]
)
def test_a_part_of_a_word_names_nothing(form: str, text: str) -> None:
    assert Vocabulary({"it": [form]}).mentions(text) == []


def test_plurals_are_an_option() -> None:
    assert named("two dogs", Vocabulary({"dog": ["dog"]}, plurals=False)) == []
    assert Vocabulary({"knife": ["knife"]}).forms == {"knife": ("knife", "knives", "knifes")}
    glasses = Vocabulary({"wine glass": ["glass"], "spectacles": ["glasses"]})  # what is given beats what is derived
    assert named("a glass, glasses", glasses) == ["wine glass", "spectacles"]


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_form_of_several_categories_is_what_was_asked_for() -> None:
    words = {"laptop": ["computer"], "tv": ["computer", "tv"]}
    with pytest.raises(
        EvaluationError, match=r"build a vocabulary: got 'computer' for 'laptop' and 'tv'; .* shared='all'"
    ):
        Vocabulary(words)
    assert named("a computer", Vocabulary(words, shared="first")) == ["laptop"]
    assert named("a computer", Vocabulary(words, shared="last")) == ["tv"]
    both = Vocabulary(words, shared="all")
    assert [(one.category, one.also) for one in both.mentions("two computers")] == [("laptop", ("tv",))]
    scores = chair(["A computer."] * 3, [{"tv"}, {"laptop"}, set()], both)
    assert (scores.hallucinated.tolist(), scores.found.tolist()) == ([0, 0, 1], [1, 1, 0])
    with pytest.raises(EvaluationError, match="shared='both'; expected: refuse, first, last, all"):
        Vocabulary(words, shared="both")  # type: ignore[arg-type]


def test_forms_without_a_category_name_nothing_and_others_only_beside_no_other_word() -> None:
    words = Vocabulary(
        {"dog": ["dog"], "": ["hot dog"], "chair": ["seat"], "toilet": ["toilet"]}, unless={"seat": ["toilet"]}
    )
    assert named("a hot dog and a dog", words) == ["dog"]
    assert named("a seat", words) == ["chair"]
    assert named("the seat of a toilet", words) == ["toilet"]
    assert named("seats of toilets", words) == ["toilet"]
    with pytest.raises(EvaluationError, match="got 'toilet' for 'seat'; expected: a list of forms"):
        Vocabulary({"chair": ["seat"]}, unless={"seat": "toilet"})
    assert words.categories == ("dog", "chair", "toilet")


def test_forms_make_the_same_vocabulary_again() -> None:
    words = coco_vocabulary()
    again = Vocabulary(words.forms, plurals=False, shared="all")
    text = "Two women feed baby elephants near train tracks; wine glasses, a bow tie."
    assert again.mentions(text) == words.mentions(text)
    assert again.categories == words.categories


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"dog": "dog"}, r"got 'dog' for 'dog'; expected: a list of forms; write \{'dog': \['dog'\]\}"),
        ({"dog": ["dog", ""]}, "the form '' for 'dog'"),
        ({"dog": ["dog", " - "]}, "the form ' - ' for 'dog'"),
        ({"dog": ["dog", None]}, "the form None for 'dog'"),
        ({"dog": []}, "category 'dog' with 0 forms"),
        ({1: ["dog"]}, "category 1 with 1 forms"),
        ({"dog": 3}, "got 3 for 'dog'; expected: a list of forms"),
        ([("dog", ["dog"])], r"expected: categories with a list of forms each; pass \{'dog'"),
        ("dog", "expected: categories with a list of forms each"),
        ({}, "no words"),
        ({"calf": ["calf"], "calves": ["calve"]}, "'calves' for 'calf' and 'calves'"),
    ],
)
def test_what_is_no_list_of_forms_is_refused(words, told: str) -> None:
    with pytest.raises(EvaluationError, match=f"build a vocabulary: .*{told}"):
        Vocabulary(words)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_dictionary_for_a_vocabulary_is_refused() -> None:
    words: dict[str, list[str]] = {"dog": ["dog"]}
    told = r"got a dict for the vocabulary; expected: a Vocabulary; wrap it: Vocabulary\(words\)"
    with pytest.raises(EvaluationError, match=f"score captions: {told}"):
        chair(["a dog"], [{"dog"}], words)  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match=f"label words: {told}"):
        label_words(planted_trace(), {"dog"}, words)  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="got a list for the vocabulary"):
        chair(["a dog"], [{"dog"}], ["dog"])  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="find object words: got NoneType None"):
        WORDS.mentions(None)  # type: ignore[arg-type]


def test_captions_and_truths_may_be_columns_and_arrays() -> None:
    table = pd.DataFrame({"caption": ["A dog.", "A bear."], "objects": [["dog"], {"dog"}]})
    by_hand = chair(["A dog.", "A bear."], [{"dog"}, {"dog"}], WORDS).summary()
    assert chair(table["caption"], table["objects"], WORDS).summary() == by_hand
    assert chair(table["caption"].to_numpy(), iter([["dog"], ("dog",)]), WORDS).summary() == by_hand


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("captions", "truths", "told"),
    [
        ("A dog.", [{"dog"}], "str 'A dog.' for captions; expected: a list of texts"),
        ({"a": "A dog."}, [{"dog"}], "for captions; expected: a list of texts"),
        (pd.DataFrame({"caption": ["A dog."]}), [{"dog"}], "DataFrame .* for captions"),
        (["A dog.", None], [{"dog"}, set()], "None in row 1 of captions; expected: a text"),
        (["A dog."], ["dog"], "'dog' in row 0 of lists of objects; expected: a collection of categories"),
        (["A dog."], [float("nan")], "nan in row 0 of lists of objects"),
        (["A dog."], [[1]], r"\[1\] in row 0 of lists of objects"),
        (["A dog."], {"dog"}, r"set \{'dog'\} for lists of objects"),
    ],
)
def test_what_is_no_list_of_captions_or_objects_is_refused_with_its_row(captions, truths, told: str) -> None:
    with pytest.raises(EvaluationError, match=f"score captions: got .*{told}"):
        chair(captions, truths, WORDS)


DENIALS = {
    "There is no dog.": [],
    "There are no dogs, mice or bears.": [],
    "There is no dog, but a bear.": ["bear"],
    "No dog. A bear.": ["bear"],
    "A bear without a dog": ["bear"],
    "I don't see a dog": [],
    "I don’t see a dog, and there is a bear": ["bear"],
    "Not only a dog but a bear": ["dog", "bear"],
    "There is no doubt that it is a dog.": ["dog"],
    "Neither a dog nor a bear": [],
    "No, a dog.": ["dog"],
    "A dog that cannot see the bear": ["dog"],
    "There is no cat, and a dog": ["dog"],
}


@pytest.mark.parametrize(("text", "kept"), DENIALS.items(), ids=DENIALS)
def test_denied_objects_count_unless_they_are_left_out(text: str, kept: list[str]) -> None:
    assert set(kept) <= set(named(text)) != set()
    assert named(text, skip_denied=True) == kept
    assert [one.category for one in WORDS.mentions(text, skip_denied=True)] == kept


def test_a_last_sentence_that_was_cut_off_counts_unless_it_is_left_out() -> None:
    text = "A dog sits. Beside it a bear and"
    assert named(text) == ["dog", "bear"]
    assert named(text, skip_cut_sentence=True) == ["dog"]
    assert named("A dog sits. It is a bear.", skip_cut_sentence=True) == ["dog", "bear"]
    assert named('A dog. "A bear!"\n', skip_cut_sentence=True) == ["dog", "bear"]
    assert named("A dog and a bear", skip_cut_sentence=True) == ["dog", "bear"]
    scores = chair([text], [{"dog"}], WORDS, skip_cut_sentence=True)
    assert (scores.named.tolist(), scores.hallucinated.tolist()) == ([1], [0])
    assert chair(["No bear."], [set()], WORDS, skip_denied=True).hallucinated.tolist() == [0]
    assert chair(["No bear."], [set()], WORDS).hallucinated.tolist() == [1]


def test_the_length_of_a_caption_is_in_words_whether_spaces_divide_them_or_not() -> None:
    words = Vocabulary({"cat": ["cat", "猫", "แมว"]})
    texts = ["A cat - on a table-top.", "一只猫坐在沙发上。", "แมวสองตัว"]
    scores = chair(texts, [{"cat"}] * 3, words)
    assert scores.words.tolist() == [5, len(["一只", "猫", "坐在", "沙发", "上"]), len(["แมว", "สอง", "ตัว"])]


def test_labels_are_of_the_same_words_as_mentions() -> None:
    words = Vocabulary({"cat": ["猫"], "dog": ["狗"]})
    labelled = label_words(with_answer("一只", "", "猫", "和", "狗"), {"cat"}, words)
    assert [(word.text, word.label, word.steps) for word in labelled if word.category] == [
        ("猫", "grounded", (1, 2)),
        ("狗", "hallucinated", (4,)),
    ]
    with pytest.raises(EvaluationError, match="'cat' in row 0 of objects in the image"):
        label_words(with_answer("猫"), "cat", words)


@given(st.text(alphabet="dog bear-\n,.'’猫แİ🙂", max_size=40))
def test_mentions_lie_in_the_text_and_do_not_overlap(text: str) -> None:
    found = WORDS.mentions(text)
    ends = [0, *(mention.end for mention in found)]
    assert all(mention.start >= end for mention, end in zip(found, ends[:-1], strict=True))
    assert all(0 <= mention.start < mention.end <= len(text) for mention in found)
    assert 0 <= complete_length(text) <= len(text)
    assert not is_denied(text, 0)


def test_a_fingerprint_is_of_the_words_themselves() -> None:
    """As many categories and forms are not the same ones."""
    one = Vocabulary({"bear": ["bear"], "seat": ["seat"]})
    assert one.fingerprint == Vocabulary({"seat": ["seat"], "bear": ["bear"]}).fingerprint
    others = [
        Vocabulary({"bear": ["cub"], "seat": ["seat"]}),
        Vocabulary({"bear": ["seat"], "seat": ["bear"]}),
        Vocabulary({"bear": ["bear"], "seat": ["seat"]}, plurals=False),
        Vocabulary({"bear": ["bear"], "seat": ["seat"]}, unless={"seat": ["toilet"]}),
    ]
    assert len({each.fingerprint for each in (one, *others)}) == 5
