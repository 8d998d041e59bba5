"""Texts of single tokens, with tokenizers whose characters take several tokens."""

from typing import Any

import pytest
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lvlmscope.inputs.detokenization import answer_pieces
from lvlmscope.traces.words import steps_of

TEXT = "a 猫 🙂 é"


def bytes_only() -> Any:
    """A byte-level tokenizer without merges: one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={byte: n for n, byte in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return tf.PreTrainedTokenizerFast(tokenizer_object=made)


def with_fallback() -> Any:
    """Letters as they are; what is not in the vocabulary as bytes (<0xE7>), as SentencePiece models have it."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"abc "]
    made = Tokenizer(
        models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize("tokenizer", [bytes_only(), with_fallback()], ids=["byte level", "byte fallback"])
def test_a_word_has_every_token_that_wrote_a_byte_of_it(tokenizer: Any) -> None:
    ids = tokenizer(TEXT)["input_ids"]
    pieces = answer_pieces(ids, tokenizer)
    assert len(pieces) == len(ids) == len(TEXT.encode())
    assert "".join(pieces) == TEXT
    assert steps_of(pieces, [(0, 1), (2, 3), (4, 5), (6, 7)]) == [(0,), (2, 3, 4), (6, 7, 8, 9), (11, 12)]


def test_bytes_that_are_no_character_are_told_as_such() -> None:
    tokenizer = bytes_only()
    ids = tokenizer("猫b猫")["input_ids"]
    pieces = answer_pieces([*ids[1:4], *ids[:2]], tokenizer)  # two thirds of a character, b, two thirds of another
    assert "".join(pieces) == tokenizer.decode([*ids[1:4], *ids[:2]])
    assert pieces[2].endswith("b")


def test_a_tokenizer_that_rewrites_a_space_before_a_comma_loses_no_text() -> None:
    class Rewriting:
        def decode(self, ids: list[int], **_: Any) -> str:
            return " ".join(["dog", ",", "cat"][token] for token in ids).replace(" ,", ",")

    pieces = answer_pieces([0, 1, 2], Rewriting())
    assert "".join(pieces) == "dog, cat"

    class Shortening:
        def decode(self, ids: list[int], **_: Any) -> str:
            return "".join(["dog ", ",", " cat"][token] for token in ids).replace(" ,", ",")

    assert answer_pieces([0, 1, 2], Shortening()) == ("dog", ",", " cat")
