"""``effect``: the first word that differs, and the image mass over the steps that are shared."""

import pytest
import torch

from lvlmscope.comparing import effect
from lvlmscope.errors import ModelInputError
from tests.core.test_record import make_trace


def test_the_first_differing_word_and_the_shared_steps() -> None:
    before = make_trace(steps=3)
    report = {"name": "toy", "changed": True, "edited_heads": 3, "edited_heads_per_layer": {"1": 3}, "forwards": 2}
    ids, words = torch.tensor([0, 7, 2]), ("a", "x", "c")
    after = make_trace(steps=3, answer_ids=ids, answer_tokens=words, answer="axc", effects=(report,))
    told = effect(before, after)
    assert (told.first_step, told.before_word, told.after_word, told.shared_steps) == (1, "b", "x", 2)
    assert told.changed
    assert not told.same_answer
    mass = before.attention[:2, :, :, 1:5].sum(-1).mean().item()
    assert told.image_mass_before == pytest.approx(mass)
    assert "toy: edited 3 (row, head) pairs in 1 layers over 2 forwards" in str(told)
    assert "first word changed: 'b' -> 'x'" in str(told)


def test_equal_answers_and_one_that_begins_with_the_other() -> None:
    before = make_trace(steps=3)
    same = effect(before, make_trace(steps=3))
    assert same.same_answer
    assert not same.changed
    assert "no remedy was on" in str(same)
    assert "no word changed" in str(same)
    longer = effect(make_trace(steps=2), before)
    assert (longer.first_step, longer.shared_steps, longer.same_answer) == (None, 2, False)
    assert "one answer begins with the other" in str(longer)


def test_other_prompts_are_refused() -> None:
    with pytest.raises(ModelInputError, match="two traces of one prompt"):
        effect(make_trace(), make_trace(prompt="Where?"))
