"""A model's answers to the items of a data set: those of a conversation turn by turn, after its own earlier answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.captioning import Answers, timed_answers
from lvlmscope.evaluation.datasets.items import Dataset, Item
from lvlmscope.evaluation.item_prompts import prompt_of

__all__ = ["answer_items", "refuse_turns", "require_turns"]


def require_turns(data: Dataset) -> None:
    """Refuses a data set in which a turn of a conversation has no turn before it.

    Args:
        data: What is asked.

    Raises:
        EvaluationError: A turn is missing, or there twice.
    """
    seen = [(item.conversation, item.turn) for item in data.items if item.conversation]
    there = set(seen)
    for name, turn in seen:
        if turn > 1 and (name, turn - 1) not in there:
            got, expected = f"turn {turn} of conversation {name} without turn {turn - 1}", "every turn before it"
            raise EvaluationError(message(got, expected, "keep conversations whole"))
    if len(there) < len(seen):
        raise EvaluationError(message("a turn of a conversation twice", "each once", "remove or rename one"))


def refuse_turns(data: Dataset, what: str) -> None:
    """Refuses conversations where each item is asked alone.

    Args:
        data: What is asked.
        what: Who asks, for the message.

    Raises:
        EvaluationError: An item is a later turn of a conversation.
    """
    if later := next((item for item in data.items if item.turn > 1), None):
        got = f"{later.id}, which is asked after the turns before it"
        raise EvaluationError(message(got, f"items that are asked alone, for {what}", "evaluate it with lv.evaluate"))


def answer_items(model: Any, processor: Any, data: Dataset, prompt: str | None, **options: Any) -> Answers:
    """Greedy answers to every item, in order.

    Turns of conversations are asked in rounds, the first ones of all conversations together, then the second ones with
    the model's own answers to the first before them, and so on.

    Args:
        model: The bare model.
        processor: Its processor.
        data: What is asked.
        prompt: As for `evaluate`.
        **options: Of `timed_answers`.

    Returns:
        Texts, tokens and seconds.
    """
    rounds = [item.turn for item in data.items]
    texts: dict[int, str] = {}
    tokens, cut = np.zeros(len(data), dtype=np.int64), np.zeros(len(data), dtype=bool)
    seconds = 0.0
    told: dict[tuple[str, int], tuple[str, str]] = {}
    for turn in sorted(set(rounds)):
        own = [number for number, each in enumerate(rounds) if each == turn]
        asked = [(data.items[number].open, _prompt(data.items[number], prompt, told)) for number in own]
        found = timed_answers(model, processor, asked, **options)
        seconds += found.seconds
        for place, number in enumerate(own):
            item = data.items[number]
            texts[number], tokens[number], cut[number] = found.texts[place], found.tokens[place], found.cut[place]
            told[item.conversation, turn] = (prompt_of(item, prompt), found.texts[place])
    return Answers(
        texts=tuple(texts[number] for number in range(len(data))),
        tokens=tuple(tokens.tolist()),
        cut=tuple(cut.tolist()),
        seconds=seconds,
    )


def _prompt(item: Item, prompt: str | None, told: Mapping[tuple[str, int], tuple[str, str]]) -> Any:
    """The item's question; of a later turn the messages before it, with the model's own answers, and then it."""
    question = prompt_of(item, prompt)
    if item.turn == 1:
        return question
    before = [told[item.conversation, turn] for turn in range(1, item.turn)]
    turns = [
        {"role": role, "content": text}
        for asked, answered in before
        for role, text in (("user", asked), ("assistant", answered))
    ]
    return [*turns, {"role": "user", "content": question}]
