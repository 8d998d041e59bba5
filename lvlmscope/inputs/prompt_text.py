"""The text that a model sees: a question in its chat template, a whole prompt as it stands, or messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lvlmscope.errors import PromptError, first_line, message, task

__all__ = ["fill_prompt", "is_messages", "render_messages", "split_messages"]

_PLACEHOLDER: Final = "<image>"
_QUESTION: Final = "The question."  # stands for any, to see what a template puts around it
_MESSAGES: Final = "messages as transformers takes them: {'role': 'user', 'content': text or parts}"


def is_messages(prompt: Any) -> bool:
    """Whether a prompt is a list of chat messages.

    Args:
        prompt: What the user gave.

    Returns:
        Whether it is.

    Examples:
        >>> is_messages([{"role": "user", "content": "What is it?"}]), is_messages("What is it?")
        (True, False)
    """
    return isinstance(prompt, list | tuple) and bool(prompt) and all(isinstance(turn, Mapping) for turn in prompt)


@task("read messages")
def split_messages(messages: Sequence[Mapping[str, Any]], image: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Messages whose images are placeholders only, and the images in their order.

    Args:
        messages: Turns with "role" and "content", a text or a list of parts. A part of type "image" holds its image, as
            "image", "url", "path" or "base64", or stands for the next of those given beside the messages.
        image: The images given beside them, None for none. Where no part stands for them, they come before the text of
            the first turn of the user.

    Returns:
        The messages, each content a list of parts, and one source for each image part.

    Raises:
        PromptError: A turn without a role or with other content, a part that is no text and no image, or another number
            of images than of parts that stand for them.
    """
    given = list(image) if isinstance(image, list | tuple) else [] if image is None else [image]
    turns = [{**turn, "content": _parts(turn)} for turn in messages]
    parts = [part for turn in turns for part in turn["content"] if part["type"] == "image"]
    bare = sum("source" not in part for part in parts)
    first = next((turn for turn in turns if turn["role"] == "user"), None)
    if given and not bare and first is not None:
        first["content"] = [{"type": "image"} for _ in given] + first["content"]
    elif len(given) != bare:
        got, fix = f"{len(given)} images and {bare} parts without one", "give an image for each such part"
        raise PromptError(message(got, "as many images as parts that stand for them", fix))
    rest = iter(given)
    parts = [part for turn in turns for part in turn["content"] if part["type"] == "image"]
    return turns, [part.pop("source") if "source" in part else next(rest) for part in parts]


def _parts(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content of a turn as parts; an image part keeps what it was as its source."""
    role, content = turn.get("role"), turn.get("content")
    if not isinstance(role, str) or not isinstance(content, str | list | tuple):
        got = f"a turn with the keys {sorted(map(str, turn))}"[:200]
        raise PromptError(message(got, _MESSAGES, "give each turn its role and its content"))
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in content]


def _part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return dict(part)
    if kind == "image_url" or (kind == "image" and set(part) - {"type"}):
        return {"type": "image", "source": part}
    if kind == "image":
        return {"type": "image"}
    got = f"a part of type {kind!r}"[:200]
    video = "pip install torchvision, and pass what the model's processor makes of a video to lv.trace_inputs"
    fix = video if kind == "video" else "leave it out"
    raise PromptError(message(got, "parts of type 'text' and 'image'", fix))


@task("fill the chat template")
def render_messages(messages: Sequence[Mapping[str, Any]], processor: Any) -> str:
    """The text that the processor's chat template makes of messages.

    Args:
        messages: As ``split_messages`` returns them. A last turn of the assistant is left open for the model to go on.
        processor: The model's processor.

    Returns:
        The text, one image placeholder for each image part.

    Raises:
        PromptError: No template, or one that refuses the messages.
    """
    from jinja2 import TemplateError

    if not getattr(processor, "chat_template", None):
        got = f"messages for {type(processor).__name__}, which has no chat template"
        raise PromptError(message(got, "a text as prompt", "write the whole prompt, with the image token in it"))
    goes_on = messages[-1]["role"] == "assistant"
    options = {"add_generation_prompt": not goes_on, "continue_final_message": goes_on}
    try:
        filled: str = processor.apply_chat_template([dict(turn) for turn in messages], tokenize=False, **options)
    except (TemplateError, ValueError, KeyError, TypeError) as error:
        got = f"messages that the template refuses: {first_line(error)}"
        raise PromptError(message(got, "messages that it takes", "change their roles or their order")) from error
    return filled


@task("fill a prompt")
def fill_prompt(prompt: str, processor: Any, count: int) -> str:
    """A question in the chat template; a whole prompt as it stands.

    Args:
        prompt: A question; with image tokens the images come exactly there. One with the template's own marks (`USER:`,
            `<|im_start|>`) is the whole prompt.
        processor: The model's processor.
        count: Images.

    Returns:
        The text that the processor takes, with ``count`` image placeholders.

    Raises:
        PromptError: A placeholder of another model, or another number of placeholders than of images.
    """
    names = _image_tokens(processor)
    if getattr(processor, "num_query_tokens", None) is not None:
        return _behind_queries(prompt, processor, names)
    if _PLACEHOLDER in prompt and _PLACEHOLDER not in names:
        got, expected = f"{_PLACEHOLDER} in the prompt", f"a question alone, or a whole prompt with {names[0]}"
        fix = f"leave {_PLACEHOLDER} out: the chat template puts the image in"
        raise PromptError(message(got, expected, fix))
    frame = (
        _render_question([{"type": "image"}, _text(_QUESTION)], processor)
        if getattr(processor, "chat_template", None)
        else ""
    )
    token = next((name for name in names if name in frame), names[0])
    found = prompt.count(token)
    whole = bool(frame) and _has_marks(prompt, processor, frame, token)
    if found != count and (found or whole):
        got, fix = f"{found} of {token} and {count} images", "give one placeholder per image"
        raise PromptError(message(got, "as many placeholders as images", fix))
    if whole or (found and not frame):
        return prompt
    if not frame:
        return f"{token * count}\n{prompt}"
    if found:
        own = _image_text(frame, token, processor)
        return _render_question([_text(prompt.replace(own, token).replace(token, own))], processor)
    return _render_question([{"type": "image"}] * count + [_text(prompt.strip())], processor)


def _behind_queries(prompt: str, processor: Any, names: Sequence[str]) -> str:
    """A question without placeholders: BLIP-2's and InstructBLIP's processors put the query tokens before the text."""
    if named := next((name for name in names if name in prompt), ""):
        got, expected = f"{named} in the prompt", f"a question alone: {type(processor).__name__} puts the image first"
        raise PromptError(message(got, expected, f"leave {named} out"))
    if not getattr(processor, "chat_template", None):
        return prompt
    return _render_question([_text(prompt.strip())], processor)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _render_question(content: list[dict[str, str]], processor: Any) -> str:
    return render_messages([{"role": "user", "content": content}], processor)


def _image_tokens(processor: Any) -> list[str]:
    """The texts that may stand for an image in a prompt; a template writes one of them."""
    names = [getattr(processor, name, None) for name in ("image_token", "boi_token")]
    return [str(name) for name in names if name] or [_PLACEHOLDER]


def _image_text(frame: str, token: str, processor: Any) -> str:
    """What a template writes for an image, its own marks around the image included, without spaces."""
    plain = _render_question([_text(_QUESTION)], processor)
    start = next((n for n, (a, b) in enumerate(zip(frame, plain, strict=False)) if a != b), len(plain))
    written = frame[start : frame.index(_QUESTION, start)].strip() if _QUESTION in frame[start:] else ""
    return written if token in written else token


def _has_marks(prompt: str, processor: Any, frame: str, token: str) -> bool:
    """Whether a prompt holds what the template puts around a question: special tokens, `USER:` where a line starts."""
    own = _image_text(frame, token, processor)
    around = frame.replace(own, " ").replace(_QUESTION, " ")
    tokenizer = getattr(processor, "tokenizer", processor)
    added = [str(each) for each in getattr(tokenizer, "added_tokens_decoder", {}).values()]
    special = {*getattr(tokenizer, "all_special_tokens", ()), *added} - {token, ""}
    if any(mark in around and mark in prompt and mark not in own for mark in special):
        return True
    before, after = frame.partition(own)[0], frame.partition(_QUESTION)[2]
    starts = [word for word in (*before.split()[-1:], *after.split()[:1]) if re.search(r"\W", word)]
    ends = [word for word in after.split()[-1:] if re.search(r"\W", word)]
    begun = any(re.search(rf"(?m)^[ \t]*{re.escape(mark)}", prompt) for mark in starts)
    return begun or any(re.search(rf"(^|\s){re.escape(mark)}\s*$", prompt) for mark in ends)
