"""lmms-eval: `lmms-eval --model lvlmscope --model_args pretrained=M,intervention=clva:alpha=0.5;beta=0.1`.

lmms-eval finds `manifest` by the entry point `lmms_eval.models` and then loads `LmmsEvalModel`. The class is made on
first access, so that this module can be imported without lmms-eval.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NoReturn

from lvlmscope.bridges.answerer import Answerer, process_device
from lvlmscope.errors import UnsupportedOptionError, message

__all__ = ["manifest"]

_CLASS: Final = "LmmsEvalModel"
_MAX_NEW_TOKENS: Final = 1024  # where a task gives none; the default of lmms-eval's own models
_LEFT_OUT: Final = ("until", "max_new_tokens", "image_aspect_ratio", "image_sizes", "max_gen_toks", "use_cache")


class LmmsEvalMixin:
    """The methods of a model of lmms-eval; `LmmsEvalModel` adds its base class."""

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        *,
        intervention: str = "",
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        check: bool = True,
    ) -> None:
        """Loads the model.

        Args:
            pretrained: Hub id or folder, or `tiny`.
            intervention: Such as `clva:alpha=0.5;beta=0.1+locore`: `;` for the comma, `+` between interventions.
            dtype: As for `load`.
            device: Such as `cuda:1`; None for the GPU of this rank, where there is one.
            device_map: As for `load`, instead of a device.
            batch_size: Requests in one `generate`.
            max_batch_size: Not used: the batch size is as given.
            check: As for `load`.

        Raises:
            LvlmscopeError: As for `load`; no such intervention.
        """
        super().__init__()
        del max_batch_size
        place = device_map or device or process_device()
        options: dict[str, Any] = {"dtype": dtype, "check": check, "device_map": None if place == "cpu" else place}
        self.answerer = Answerer(pretrained, intervention, batch_size=int(batch_size), **options)
        self.batch_size = self.answerer.batch_size
        self.device = self.answerer.model.model.device  # on which lmms-eval counts the requests of its ranks

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answers to requests, in order; those with the same options are answered together.

        Args:
            requests: Instances whose arguments are context, messages of a document, options, document, task, split.

        Returns:
            lmms-eval's results, with the number of tokens.

        Raises:
            UnsupportedOptionError: An option of `generate` that is not known, or video or audio.
        """
        from lmms_eval.api.instance import GenerationResult, TokenCounts

        alike: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            alike[repr(sorted(request.args[2].items(), key=str))].append(number)
        found: dict[int, Any] = {}
        for numbers in alike.values():
            options = dict(requests[numbers[0]].args[2])
            conversations = [self._messages(requests[number]) for number in numbers]
            answers = self.answerer.answer(conversations, **generation_options(options))
            for number, text, tokens in zip(numbers, answers.texts, answers.tokens, strict=True):
                found[number] = GenerationResult(text=text, token_counts=TokenCounts(output_tokens=tokens))
        return [found[number] for number in range(len(requests))]

    def _messages(self, request: Any) -> list[dict[str, Any]]:
        _, doc_to_messages, _, document, task, split = request.args
        documents: Mapping[Any, Any] = self.task_dict[task][split]  # type: ignore[attr-defined] # of the base class
        return conversation(doc_to_messages(documents[document]))

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: tasks that compare likelihoods of given answers are not supported.

        Raises:
            UnsupportedOptionError: Always.
        """
        del requests
        got, fix = "a task that compares likelihoods", "choose the task's variant that generates"
        raise UnsupportedOptionError(message(got, "a task that generates", fix, task="answer for lmms-eval"))

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: tasks with several rounds for one document are not supported.

        Raises:
            UnsupportedOptionError: Always.
        """
        del requests
        got, fix = "a task of several rounds", "choose one with a single answer to each document"
        raise UnsupportedOptionError(message(got, "a task of one round", fix, task="answer for lmms-eval"))


def manifest() -> Any:
    """What the entry point gives lmms-eval: the model `lvlmscope`, which takes conversations."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="lvlmscope", chat_class_path=f"{__name__}.{_CLASS}")


def conversation(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """lmms-eval's messages as chat templates take them.

    Args:
        messages: Turns whose images stand under `url`.

    Returns:
        The turns with their images under `image`.

    Raises:
        UnsupportedOptionError: Video or audio.

    >>> conversation([{"role": "user", "content": [{"type": "image", "url": "a.png"}]}])
    [{'role': 'user', 'content': [{'type': 'image', 'image': 'a.png'}]}]
    """
    return [{"role": turn["role"], "content": [_part(part) for part in turn["content"]]} for turn in messages]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image":
        return {"type": "image", "image": part["url"]}
    if part["type"] != "text":
        got, fix = f"{part['type']} in a request", "choose a task with images and text"
        raise UnsupportedOptionError(message(got, "images and text", fix, task="answer for lmms-eval"))
    return {"type": "text", "text": part["text"]}


def generation_options(given: Mapping[str, Any]) -> dict[str, Any]:
    r"""A task's options as those of `Answerer.answer`; options of other models' image processing are left out.

    Args:
        given: The options of a request, by name.

    Returns:
        The options, with `max_new_tokens` and `stop`.

    >>> generation_options({"max_new_tokens": 16, "until": ["\n\n"], "temperature": 0, "image_aspect_ratio": "pad"})
    {'temperature': 0, 'max_new_tokens': 16, 'stop': ['\n\n']}
    """
    until = given.get("until") or []
    own = {name: value for name, value in given.items() if name not in _LEFT_OUT}
    length = given.get("max_new_tokens") or given.get("max_gen_toks") or _MAX_NEW_TOKENS
    return own | {"max_new_tokens": int(length), "stop": [until] if isinstance(until, str) else list(until)}


@cache
def _model_class() -> type:
    from lmms_eval.api.model import lmms

    return type(_CLASS, (LmmsEvalMixin, lmms), {"__module__": __name__, "__doc__": LmmsEvalMixin.__doc__})


def __getattr__(name: str) -> Any:
    made: dict[str, Callable[[], Any]] = {_CLASS: _model_class}
    if name not in made:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return made[name]()
