"""Batches: labels on the assistant's tokens only, whatever the padding, the template and the number of turns."""

import dataclasses
from pathlib import Path

import pytest
import torch

from lvlmscope.errors import ImageInputError, TrainingDataError
from lvlmscope.training import Collator
from lvlmscope.training.collation import IGNORED, speak
from tests.support import tiny_models
from tests.support.small_training import TEMPLATE, processor, records


@pytest.mark.parametrize("side", ["left", "right"])
def test_labels_are_what_the_assistant_says(tmp_path: Path, side: str) -> None:
    made = processor()
    batch = Collator(made, padding_side=side)(records(tmp_path))
    said = [made.tokenizer.convert_ids_to_tokens(row[row != IGNORED]) for row in batch["labels"]]
    assert said == [
        ["w20", "w21", "w22", "</s>"],
        ["w23", "w24", "w25", "w26", "</s>"],
        ["w27", "</s>", "w28", "w29", "</s>"],
        ["w20", "w21", "w30", "w31", "w32", "</s>"],
    ]
    labelled = batch["labels"] != IGNORED
    assert (batch["labels"][labelled] == batch["input_ids"][labelled]).all()
    assert not (labelled & (batch["attention_mask"] == 0)).any()
    first = batch["attention_mask"][:, 0]
    assert bool(first.all()) is (side == "right")
    assert ((batch["input_ids"] == tiny_models.IMAGE).sum(-1) == 16).all()


def test_a_template_without_an_end_gets_the_tokenizers_end_once(tmp_path: Path) -> None:
    made = processor(TEMPLATE.replace("' </s> '", "' '"))
    batch = Collator(made)(records(tmp_path)[2:3])
    labels = batch["labels"][0]
    assert made.tokenizer.convert_ids_to_tokens(labels[labels != IGNORED]) == ["w27", "w28", "w29", "</s>"]


def test_a_template_that_rewrites_earlier_turns_is_refused(tmp_path: Path) -> None:
    record = records(tmp_path)[2]
    forgetful = processor(TEMPLATE.replace("for m in messages", "for m in messages[-2:]"))
    with pytest.raises(TrainingDataError, match=r"record 2 \(id 'r2'\).*rewrites earlier turns"):
        speak(record, forgetful, 2)
    assert len(speak(record, forgetful, 1).spans) == 1


def test_later_turns_are_left_out_until_a_conversation_fits(tmp_path: Path) -> None:
    made, several = processor(), records(tmp_path)[2:3]
    whole = Collator(made)(several)["input_ids"].shape[1]
    assert whole == 29
    cut = Collator(made, max_tokens=whole - 1)(several)
    assert made.tokenizer.convert_ids_to_tokens(cut["labels"][0][cut["labels"][0] != IGNORED]) == ["w27", "</s>"]
    with pytest.raises(TrainingDataError, match=r"record 2 .*23 tokens in the first turn; expected: up to 10"):
        Collator(made, max_tokens=10)(several)


def test_a_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    one = records(tmp_path)[0]
    one.image.write_text("no image")
    with pytest.raises(ImageInputError, match=r"0\.png"):
        Collator(processor())([one])


def test_emphasis_falls_on_its_words_and_the_token_after_each(tmp_path: Path) -> None:
    made = processor()
    one = dataclasses.replace(records(tmp_path)[1], emphasis=("w24", "W25", "w12", "absent"))
    batch = Collator(made, emphasis=3.0)([one])
    labelled = batch["labels"][0] != IGNORED
    # w23 [w24] [w25] [w26: after w25] </s>; w12 stands in the question, which has no labels
    torch.testing.assert_close(batch["weights"][0][labelled], torch.tensor([1.0, 3.0, 3.0, 3.0, 1.0]) / (11 / 5))
    assert "weights" not in Collator(made)([one])


def test_emphasis_takes_whole_words_only(tmp_path: Path) -> None:
    one = dataclasses.replace(records(tmp_path)[1], emphasis=("w2",))
    assert speak(one, processor(), 1).stressed == frozenset()
