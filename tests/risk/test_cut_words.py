"""What a diagnosis says of the words when the image is cut off."""

import pytest

import lvlmscope as lv
from lvlmscope.errors import ModelInputError
from lvlmscope.risk.cut_words import CutWord, cut_words
from lvlmscope.tiny import scene


@pytest.fixture(scope="module")
def seen():
    """A held-out scene without its carrot, of which the bundled model speaks."""
    model = lv.load("tiny", check=False)
    options = {"gradients": True, "hidden_states": True, "max_new_tokens": 9, "progress": False}
    return model, lv.trace(model, scene("prior", 3).image, "Describe the image.", **options)


def test_a_diagnosis_tells_what_each_word_loses(seen) -> None:
    model, trace = seen
    plain, found = lv.diagnose(trace, model=model), lv.diagnose(trace, model=model, cut_image=True)
    assert plain.cut == ()
    assert "image cut off" not in str(plain)
    assert [word.text for word in found.cut] == ["broccoli", "carrot"]
    everywhere = lv.knockout(
        model, trace, words=["broccoli", "carrot"], to="all", layers=[None, list(found.cut[0].layers)]
    )
    assert found.cut[0].lost == pytest.approx(float(everywhere[0, 0]), abs=1e-4)
    assert found.cut[1].lost == pytest.approx(float(everywhere[0, 1]), abs=1e-4)
    assert found.cut[0].lost_there == pytest.approx(float(everywhere[1, 0]), abs=1e-4)
    assert found.cut[0].lost > 2 > 0.3 > found.cut[1].lost
    assert f"'broccoli' loses {found.cut[0].lost:.1f} nats without the image" in " ".join(str(found).split())
    assert [word.risk for word in found.words] == [word.risk for word in plain.words]
    assert cut_words(trace, model, ()) == ()


def test_a_word_that_loses_nothing_is_said_so() -> None:
    word = CutWord(text="cake", steps=(7,), lost=0.04, layers=(2,), lost_there=0.01)
    assert str(word) == "'cake' loses nothing without the image (0.04 nats)"
    word = CutWord(text="cake", steps=(7,), lost=0.4, layers=(2,), lost_there=0.3)
    assert str(word) == "'cake' loses 0.4 nats without the image, 0.3 nats without it in layer 2 only"


def test_the_model_is_needed(seen) -> None:
    _, trace = seen
    with pytest.raises(
        ModelInputError, match="cut_image=True without a model; expected: the model that made the trace"
    ):
        lv.diagnose(trace, cut_image=True)
