"""Texts of token positions, cut so that the pieces of an answer join to the answer."""

from collections.abc import Hashable, Sequence, Sized
from typing import Any, Final
from weakref import WeakKeyDictionary

__all__ = ["alternative_pieces", "answer_pieces", "collapsed_prompt", "prompt_pieces"]

_UNFINISHED = "\ufffd"  # what a tokenizer decodes the first bytes of a longer character to


def answer_pieces(ids: Sequence[int], processor: Any, *, special: bool = False) -> tuple[str, ...]:
    """Text that each answer token adds; special tokens add none, and a character of several tokens goes to its last.

    Args:
        ids: Token ids.
        processor: Its tokenizer decodes; None writes the ids themselves.
        special: Whether special tokens have their text, too.

    Returns:
        One piece per token; joined they are the decoded answer.
    """
    if processor is None:
        return tuple(f"{token} " for token in ids)
    tokenizer = getattr(processor, "tokenizer", processor)
    pieces: list[str] = []
    written = ""
    for count in range(1, len(ids) + 1):
        text = _decode(tokenizer, ids[:count], skip_special_tokens=not special)
        unfinished = text.endswith(_UNFINISHED) and count < len(ids)
        if unfinished:
            pieces.append("")
            continue
        kept = _common_prefix(written, text)
        _shorten(pieces, len(written) - kept)  # a tokenizer may rewrite what it wrote before: spaces before a comma
        pieces.append(text[kept:])
        written = text
    return tuple(pieces)


def _common_prefix(one: str, other: str) -> int:
    """Length of the common prefix of two texts, in characters."""
    if other.startswith(one):
        return len(one)
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _shorten(pieces: list[str], count: int) -> None:
    """Takes the last characters off a list of texts."""
    for number in reversed(range(len(pieces))):
        if not count:
            return
        cut = min(count, len(pieces[number]))
        pieces[number] = pieces[number][: len(pieces[number]) - cut]
        count -= cut


def prompt_pieces(ids: Sequence[int], image: Sequence[bool], processor: Any) -> tuple[str, ...]:
    """Text of each prompt position; image positions get the image token's text.

    Args:
        ids: Token ids.
        image: Whether each is an image position.
        processor: Its tokenizer decodes; None writes the ids themselves.

    Returns:
        One text per position.
    """
    if processor is None:
        return tuple(f"{token} " for token in ids)
    tokenizer = getattr(processor, "tokenizer", processor)
    label = str(getattr(processor, "image_token", None) or "<image>")  # an AddedToken in BLIP-2's processor
    texts: list[str] = []
    for number, (token, is_image) in enumerate(zip(ids, image, strict=True)):
        if is_image:
            texts.append(label)
            continue
        # Decoded after its neighbour, so that a leading space that the tokenizer keeps inside a text is seen
        before = _decode(tokenizer, ids[number - 1 : number]) if number and not image[number - 1] else ""
        both = _decode(tokenizer, ids[number - 1 : number + 1]) if before else _decode(tokenizer, [token])
        texts.append(both[len(before) :] if before and both.startswith(before) else _decode(tokenizer, [token]))
    return tuple(texts)


def collapsed_prompt(pieces: Sequence[str], image: Sequence[bool]) -> str:
    """A prompt's text with one placeholder for each run of image tokens.

    Args:
        pieces: Text of each position.
        image: Whether each is an image position.

    Returns:
        The text.

    Examples:
        >>> collapsed_prompt(["<image>", "<image>", " What"], [True, True, False])
        '<image> What'
    """
    first = [not is_image or not number or not image[number - 1] for number, is_image in enumerate(image)]
    return "".join(piece for piece, kept in zip(pieces, first, strict=True) if kept)


def alternative_pieces(
    ids: Sequence[Sequence[int]], before: Sequence[int], processor: Any
) -> tuple[tuple[str, ...], ...]:
    """Text of each candidate token as it would stand after the token before it.

    Args:
        ids: Candidates of each step.
        before: The token before each step.
        processor: Its tokenizer decodes; None writes the ids themselves.

    Returns:
        One tuple of texts per step.
    """
    if processor is None:
        return tuple(tuple(f"{token} " for token in step) for step in ids)
    tokenizer = getattr(processor, "tokenizer", processor)
    known = _followers(tokenizer)
    for previous, step in zip(before, ids, strict=True):
        for token in step:
            if (previous, token) not in known:
                known[previous, token] = _following(tokenizer, previous, token)
    return tuple(tuple(known[previous, token] for token in step) for previous, step in zip(before, ids, strict=True))


def _following(tokenizer: Any, previous: int, token: int) -> str:
    """A token's text after another one."""
    written = _decode(tokenizer, [previous])
    both = _decode(tokenizer, [previous, token]) if written else ""
    return both[len(written) :] if written and both.startswith(written) else _decode(tokenizer, [token])


# Answers use the same pairs of tokens again and again, and to decode one takes longer than to read a signal
_KNOWN: "WeakKeyDictionary[Any, tuple[int, dict[tuple[int, int], str]]]" = WeakKeyDictionary()
_MOST: Final = 1 << 16  # pairs


def _followers(tokenizer: Any) -> dict[tuple[int, int], str]:
    """The texts of pairs that this tokenizer has decoded; none once it has other tokens, or too many pairs."""
    if not isinstance(tokenizer, Hashable) or not isinstance(tokenizer, Sized):
        return {}
    size = len(tokenizer)
    found = _KNOWN.get(tokenizer)
    if found is None or found[0] != size or len(found[1]) > _MOST:
        found = _KNOWN[tokenizer] = (size, {})
    return found[1]


def _decode(tokenizer: Any, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
    return text
