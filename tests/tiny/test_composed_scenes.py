"""The scenes know what is in them, and their captions say nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlmscope.errors import ModelInputError
from lvlmscope.evaluation import vocabulary
from lvlmscope.tiny import CATEGORIES, PARTNER, captions, scene, scenes, sprites
from lvlmscope.tiny.world import GUESTS, PLACES, SETTINGS

SPLITS = ("train", "tune", "neutral", "prior", "hard")


def test_world_is_complete() -> None:
    assert len(CATEGORIES) >= 40
    assert len(set(CATEGORIES)) == len(CATEGORIES)
    assert all(PARTNER[PARTNER[name]] == name for name in PARTNER)
    assert set(GUESTS) == set(PLACES) == set(SETTINGS)
    assert all(sprites.count(name) >= 2 for name in CATEGORIES)


@settings(max_examples=25, deadline=None)
@given(split=st.sampled_from(SPLITS), index=st.integers(0, 10**6))
def test_caption_names_exactly_the_objects(split: str, index: int) -> None:
    one = scene(split, index)
    named = {mention.category for mention in vocabulary().mentions(one.caption)}
    assert named == one.present
    assert 15 <= len(one.caption.split()) <= 40
    assert 2 <= one.caption.count(".") <= 4
    assert 1 <= len(one.objects) <= 5


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_lie_in_the_image(split: str) -> None:
    for one in scenes(split, n=20):
        assert one.image.size == (112, 112)
        assert len(one.boxes) == len(one.objects)
        for left, top, right, bottom in one.boxes:
            assert 0 <= left < right <= 112
            assert 0 <= top < bottom <= 112


def test_same_arguments_same_scene_and_splits_differ() -> None:
    once, again, other = scene("prior", 3), scene("prior", 3), scene("prior", 3, seed=1)
    assert np.array_equal(np.asarray(once.image), np.asarray(again.image))
    assert once.caption == again.caption
    assert not np.array_equal(np.asarray(once.image), np.asarray(other.image))
    assert not np.array_equal(np.asarray(once.image), np.asarray(scene("neutral", 3).image))


def test_prior_split_always_lacks_a_partner_and_neutral_usually_does_not() -> None:
    assert all(one.missing_partners for one in scenes("prior", n=100))
    company = [
        name in one.present for one in scenes("neutral", n=200) for name in map(PARTNER.get, one.objects) if name
    ]
    assert np.mean(company) > 0.7


def test_hard_objects_are_smaller() -> None:
    def size(split: str) -> float:
        return float(np.mean([b[2] - b[0] for one in scenes(split, n=60) for b in one.boxes]))

    assert size("hard") < 0.75 * size("neutral")


def test_negatives_are_absent() -> None:
    rng = np.random.default_rng(0)
    one = scene("prior", 0)
    assert not set(captions.negatives(rng, one.present, "random")) & one.present
    assert set(captions.negatives(rng, one.present, "partner")) == set(one.missing_partners)


def test_unknown_split_and_negative_n_are_refused() -> None:
    with pytest.raises(
        ModelInputError, match="got split='test'; expected: 'train', 'tune', 'neutral', 'prior', 'hard'"
    ):
        scenes("test", n=1)  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="got n=-1; expected: a whole number from 0"):
        scenes("hard", n=-1)
