"""The training script: turns that do not see one another, and a run that resumes where it stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lvlmscope.errors import ModelInputError
from lvlmscope.tiny import scene
from lvlmscope.tiny.recipe import batches as dialogues
from lvlmscope.tiny.recipe import train
from lvlmscope.tiny.recipe.architecture import build_model, build_tokenizer
from lvlmscope.tiny.recipe.train import Recipe, Stage

POOL = [scene("train", index, seed=7) for index in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(train.corpus(POOL, 7))


def test_turns_are_independent(tokenizer) -> None:
    asked = dialogues.turns(np.random.default_rng(0), POOL[0])
    prefix = dialogues.image_prefix(tokenizer)
    model = build_model(0).eval().model.language_model
    together = dialogues.batch(tokenizer, [prefix], [asked])
    alone = dialogues.batch(tokenizer, [prefix], [asked[-1:]])

    def hidden(packed: dialogues.Batch) -> torch.Tensor:
        mask = torch.zeros(packed.mask.shape).masked_fill(~packed.mask, float("-inf"))
        return model(
            input_ids=packed.input_ids, attention_mask=mask, position_ids=packed.position_ids
        ).last_hidden_state

    length = alone.input_ids.shape[1] - len(prefix)
    torch.testing.assert_close(hidden(together)[:, -length:], hidden(alone)[:, -length:], atol=1e-5, rtol=1e-5)
    assert torch.equal(together.labels[:, -length:], alone.labels[:, -length:])


def test_labels_sit_at_the_predicting_position(tokenizer) -> None:
    packed = dialogues.batch(tokenizer, [dialogues.image_prefix(tokenizer)], [[("Can you see a dog?", "Yes.", 5.0)]])
    predicting = (packed.labels[0] >= 0).nonzero().flatten()
    assert torch.equal(packed.labels[0, predicting], packed.input_ids[0, predicting + 1])
    assert tokenizer.decode(packed.labels[0, predicting]) == " Yes.</s>"
    assert packed.weights[0, predicting].tolist() == [5.0, 1.0, 1.0]


def test_patch_words_show_the_object_in_its_box() -> None:
    for one in POOL[:20]:
        grid = dialogues.patch_words(one).reshape(8, 8)
        name, (left, top, right, bottom) = one.objects[-1], one.boxes[-1]  # the last lies on top
        shown = dialogues.WORDS[grid[(top + bottom) // 28, (left + right) // 28]]
        assert shown == name


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "compose", lambda _: POOL)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    stages = tuple(Stage(name=name, steps=2, batch=2, rate=1e-3) for name in ("language", "align", "joint"))
    recipe = Recipe(scenes=len(POOL), stages=stages)
    whole = train.train(tmp_path / "whole", recipe)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(train.STEPS, "joint", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(tmp_path / "parts", recipe)
    with pytest.raises(ModelInputError, match=r'"seed": 7.*"seed": 8.*choose another folder'):
        train.train(tmp_path / "parts", replace(recipe, seed=8))
    parts = train.train(tmp_path / "parts", recipe)
    assert [point["stage"] for point in parts.curve] == ["language"] * 2 + ["align"] * 2 + ["joint"] * 2
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight, msg=name)
