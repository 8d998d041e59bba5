"""Real processors for the tiny models, made in memory: PIL image processors, one word a token, no files."""

from collections.abc import Sequence
from typing import Any

import transformers as tf

from tests.support.tiny_models import IMAGE, VOCABULARY

PLACES = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 5)]


def tokenizer(image: str = "<image>", markers: Sequence[str] = (), **names: str) -> Any:
    """Words of the tiny models' vocabulary; the image token at its id, the markers after it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<pad>", "<s>", "</s>", "<unk>"]
    words += [f"w{number}" for number in range(len(words), VOCABULARY)]
    words[IMAGE : IMAGE + 1 + len(markers)] = [image, *markers]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.Fuse()
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.add_special_tokens({"additional_special_tokens": [image, *markers]})
    fast.padding_side = "left"
    for name, word in names.items():
        setattr(fast, name, word)
        setattr(fast, f"{name}_id", fast.convert_tokens_to_ids(word))
    return fast
