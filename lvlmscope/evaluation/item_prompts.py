"""What a model is asked about an item: the item's own question, or one prompt for all."""

from typing import Final

from lvlmscope.errors import EvaluationError, message
from lvlmscope.evaluation.datasets.items import Item
from lvlmscope.evaluation.labelled_images import PROMPT

__all__ = ["prompt_of"]

_QUESTION: Final = "{question}"


def prompt_of(item: Item, prompt: str | None) -> str:
    """What is asked of the model.

    Args:
        prompt: For items without a question the prompt, "Describe the image." when None; for items with one a template
            that holds `{question}`, the question alone when None.

    Returns:
        The prompt, without a chat template.

    Raises:
        EvaluationError: A prompt without `{question}` for an item with a question of its own.

    >>> prompt_of(Item(id="1", image=None, image_id="1", question="Is there a dog?"), "{question} Yes or no?")
    'Is there a dog? Yes or no?'
    """
    if not item.question:
        return PROMPT if prompt is None else prompt
    if prompt is None:
        return item.question
    if _QUESTION not in prompt:
        got = f"the prompt {prompt!r}"[:80] + " for items with a question of their own"
        raise EvaluationError(message(got, f"a template with {_QUESTION}", f"write '{_QUESTION} Answer yes or no.'"))
    return prompt.replace(_QUESTION, item.question)
