"""The markers around what a reasoning model thinks, as its tokenizer or its chat template declares them."""

from collections.abc import Sequence
from typing import Any, Final

from lvlmscope.errors import ModelInputError
from lvlmscope.inputs.detokenization import answer_pieces
from lvlmscope.traces.answer_spans import Markers, record_of
from lvlmscope.traces.span_search import spans_in

__all__ = ["declared_markers", "recorded_answer"]

_FIELDS: Final = ("thinking", "reasoning_content", "reasoning")  # of a response template of transformers
# As chat templates and added tokens of released models have them
_KNOWN: Final[tuple[Markers, ...]] = (
    ("<think>", "</think>"),  # Qwen3-VL, GLM-4.1V, Ocean-R1, R1-Onevision, InternVL3.5
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("[THINK]", "[/THINK]"),  # Magistral, Ministral 3
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)


def declared_markers(processor: Any) -> Markers | None:
    """The one pair of markers that a processor declares.

    A response template of transformers (`tokenizer.response_template`) is believed first. Else both texts of a pair
    that released models use must be added tokens, or stand in the chat template.

    Args:
        processor: A model's processor or tokenizer; None has no markers.

    Returns:
        The opening and the closing text; None where there is no such pair, or more than one.
    """
    if processor is None:
        return None
    tokenizer = getattr(processor, "tokenizer", processor)
    told = getattr(tokenizer, "response_template", None)
    fields = told.get("fields", {}) if isinstance(told, dict) else {}
    pairs = {pair for name in _FIELDS if (pair := _literals(fields.get(name))) is not None}
    if not pairs:
        templates = [getattr(each, "chat_template", None) for each in (processor, tokenizer)]
        text = "\n".join(str(each) for each in templates if each)
        added: dict[str, int] = getattr(tokenizer, "get_added_vocab", dict)()
        pairs = {pair for pair in _KNOWN if all(one in added for one in pair) or all(one in text for one in pair)}
    return pairs.pop() if len(pairs) == 1 else None


def _literals(field: Any) -> Markers | None:
    """A field's opening and closing text, where it has one of each."""
    if not isinstance(field, dict):
        return None
    open_text, close_text = field.get("open"), field.get("close")
    if isinstance(open_text, str) and isinstance(close_text, str):
        return open_text.strip(), close_text.strip()
    return None


def recorded_answer(
    ids: Sequence[int], processor: Any, prompt_text: str, *, markers: Markers | None = None, opened: bool | None = None
) -> dict[str, Any]:
    """The spans of an answer for a trace's provenance.

    Args:
        ids: The answer's tokens.
        processor: Its tokenizer decodes, special tokens too.
        prompt_text: The text that the model saw before them.
        markers: Instead of those that the processor declares.
        opened: Whether what is thought began in the prompt; None: whether the prompt ends with the opening marker.

    Returns:
        JSON values; nothing where no markers are declared, or declared ones that do not fit together in this answer.

    Raises:
        ModelInputError: Given markers that do not fit together.
    """
    found = declared_markers(processor) if markers is None else markers
    if found is None:
        return {}
    begun = prompt_text.rstrip().endswith(found[0]) if opened is None else opened
    pieces = answer_pieces(ids, processor, special=True)
    try:
        return record_of(spans_in(pieces, found, opened=begun), found)
    except ModelInputError:
        if markers is None:
            return {}
        raise
