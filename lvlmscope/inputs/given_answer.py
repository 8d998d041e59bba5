"""An answer given in advance, as the token ids with which the model would have written it."""

from typing import Any

import torch

from lvlmscope.errors import PromptError, message, task
from lvlmscope.inputs.preparation import ModelInputs

__all__ = ["tokenize_answer"]

_LAST = 16  # prompt tokens whose text shows how an answer joins it


@task("use an answer given in advance")
def tokenize_answer(answer: Any, prepared: ModelInputs, vocabulary: int | None = None) -> torch.Tensor:
    """Ids of an answer given in advance, ``[step]``.

    A text is joined to the prompt as the model would go on: where the prompt ends in `ASSISTANT:`, "The" becomes
    " The", and its tokens are those of the joint text.

    Args:
        answer: Text, or token ids.
        prepared: The prompt; its processor's tokenizer is used for text.
        vocabulary: Ids that the model has; None where it does not say.

    Returns:
        int64 ``[step]``, at least one.

    Raises:
        PromptError: Empty text, text the tokenizer cannot represent, or text without a processor; ids that are no whole
            numbers, outside the vocabulary, of several answers, or that begin with the prompt.
    """
    ids = _from_text(answer, prepared) if isinstance(answer, str) else _from_ids(answer, prepared)
    if not ids.numel():
        raise PromptError(message("an empty answer", "at least one token", "pass some text"))
    if int(ids.min()) < 0 or (vocabulary is not None and int(ids.max()) >= vocabulary):
        got = f"ids from {int(ids.min())} to {int(ids.max())}"
        expected = "ids of the vocabulary" + (f", 0 to {vocabulary - 1}" if vocabulary is not None else "")
        raise PromptError(message(got, expected, "use the model's own tokenizer"))
    return ids


def _from_ids(answer: Any, prepared: ModelInputs) -> torch.Tensor:
    try:
        given = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{type(answer).__name__} as answer"
        raise PromptError(message(got, "text, or token ids", "pass one of these")) from error
    if given.numel() and (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool):
        raise PromptError(message(f"{given.dtype} as answer", "text, or token ids", "pass whole numbers"))
    if given.dim() > 1 and given.numel() != given.shape[-1]:
        got = f"ids of shape {list(given.shape)}"
        raise PromptError(message(got, "one answer, [step]", "trace the answers one by one"))
    ids = given.to(torch.int64).flatten().cpu()
    batch = prepared.inputs["input_ids"].cpu()
    masks = prepared.inputs.get("attention_mask", torch.ones_like(batch)).cpu()
    for row, mask in zip(batch, masks, strict=True):
        prompt = row[mask.bool()]
        if len(ids) >= len(prompt) and torch.equal(ids[: len(prompt)], prompt):
            got, fix = f"{len(ids)} ids that begin with the prompt's {len(prompt)}", "pass ids[prompt_length:]"
            raise PromptError(message(got, "the answer's ids alone", fix))
    return ids


def _from_text(answer: str, prepared: ModelInputs) -> torch.Tensor:
    if prepared.processor is None:
        got, fix = "text, but no processor", "pass processor=, or token ids"
        raise PromptError(message(got, "text with a processor, or token ids", fix))
    tokenizer = getattr(prepared.processor, "tokenizer", prepared.processor)
    if not answer:
        return torch.zeros(0, dtype=torch.int64)
    ids = _joined(answer, prepared.inputs["input_ids"][0, -_LAST:].tolist(), tokenizer)
    back = _decode(tokenizer, ids)
    if ids and "".join(back.split()) != "".join(answer.split()):
        got = f"text that becomes {back[:150]!r}"
        raise PromptError(message(got, "text of the tokenizer's vocabulary", "change the answer"))
    return torch.tensor(ids, dtype=torch.int64)


def _joined(answer: str, last: list[int], tokenizer: Any) -> list[int]:
    """Ids of an answer after the last tokens of a prompt."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    start = max((number + 1 for number, token in enumerate(last) if token in special), default=0)
    before = _decode(tokenizer, last[start:])
    if before and not before[-1].isspace() and answer[0].isalnum():
        answer = f" {answer}"
    alone: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    both: list[int] = tokenizer(before + answer, add_special_tokens=False)["input_ids"]
    prompt: list[int] = tokenizer(before, add_special_tokens=False)["input_ids"]
    return both[len(prompt) :] if before and both[: len(prompt)] == prompt else alone


def _decode(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
