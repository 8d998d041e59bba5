"""Inspect: `inspect eval TASK --model lvlmscope/M -M intervention='clva:alpha=0.5;beta=0.1'`.

Inspect finds `provider` by the entry point `inspect_ai`. The class is made and registered on first access, so that this
module can be imported without Inspect.
"""

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from lvlmscope.bridges.answerer import Answerer, process_device
from lvlmscope.errors import UnsupportedOptionError, message

__all__ = ["InspectMixin"]

_MAX_NEW_TOKENS: Final = 1024  # where neither task nor command gives one
# Options of an answer that have no counterpart here, and the values that change nothing
_UNSUPPORTED: Final[dict[str, tuple[Any, ...]]] = {
    "seed": (),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "best_of": (1,),
    "num_choices": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "response_schema": (),
    "reasoning_effort": (),
    "reasoning_tokens": (),
}


class InspectMixin:
    """The methods of a model provider of Inspect; `provider` adds its base class."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: Any = None,
        intervention: str = "",
        **loading: Any,
    ) -> None:
        """Loads the model.

        Args:
            model_name: Hub id or folder, or `tiny`.
            base_url: Not used.
            api_key: Not used.
            config: Inspect's options of generation.
            intervention: Such as `clva:alpha=0.5;beta=0.1+locore`.
            **loading: Options of `load`, such as dtype.

        Raises:
            LvlmscopeError: As for `load`; no such intervention.
        """
        own = {} if config is None else {"config": config}
        super().__init__(model_name=model_name, base_url=base_url, api_key=api_key, **own)  # type: ignore[call-arg]
        options = {"device_map": process_device(), **loading}
        self.answerer = Answerer(model_name, intervention, **options)
        self._one_at_a_time = threading.Lock()

    async def generate(self, input: Sequence[Any], tools: Sequence[Any], tool_choice: Any, config: Any) -> Any:  # noqa: A002
        """One answer; requests run one after the other.

        Args:
            input: Inspect's chat messages.
            tools: None may be given.
            tool_choice: Not used.
            config: Inspect's options of generation.

        Returns:
            Inspect's output.

        Raises:
            UnsupportedOptionError: Tools, an option that has no counterpart, or a part that is neither text nor image.
        """
        from anyio.to_thread import run_sync
        from inspect_ai.model import ModelOutput, ModelUsage

        del tool_choice
        if tools:
            got, fix = f"{len(tools)} tools", "choose a task without tools"
            raise UnsupportedOptionError(message(got, "no tools", fix, task="answer for Inspect"))
        messages, options = conversation(input), generation_options(config)

        def answered() -> Any:
            with self._one_at_a_time:
                return self.answerer.answer([messages], **options)

        found = await run_sync(answered)
        name = self.model_name  # type: ignore[attr-defined] # of the base class
        reason = "max_tokens" if found.cut[0] else "stop"
        output = ModelOutput.from_content(model=name, content=found.texts[0], stop_reason=reason)
        output.usage = ModelUsage(output_tokens=found.tokens[0], total_tokens=found.tokens[0])
        output.time = found.seconds
        return output

    def max_connections(self) -> int:
        """One request at a time."""
        return 1


def conversation(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Inspect's messages as chat templates take them.

    Args:
        messages: With a role and content: a text, or parts of type text and image.

    Returns:
        The turns.

    Raises:
        UnsupportedOptionError: A part that is neither text nor image, or a turn of a tool.
    """
    return [{"role": _role(turn.role), "content": _parts(turn.content)} for turn in messages]


def _role(role: str) -> str:
    if role not in ("system", "user", "assistant"):
        got, fix = f"a turn of {role}", "choose a task without tools"
        raise UnsupportedOptionError(message(got, "system, user and assistant", fix, task="answer for Inspect"))
    return role


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    found = []
    for part in content:
        if part.type not in ("text", "image"):
            got, fix = f"a part of type {part.type}", "choose a task with images and text"
            raise UnsupportedOptionError(message(got, "text and image", fix, task="answer for Inspect"))
        found.append({"type": part.type, part.type: part.text if part.type == "text" else part.image})
    return found


def generation_options(config: Any) -> dict[str, Any]:
    """Inspect's options as those of `Answerer.answer`.

    Args:
        config: With max_tokens, stop_seqs, temperature, top_p and top_k, each None where it is not given.

    Returns:
        The options.

    Raises:
        UnsupportedOptionError: An option that has no counterpart here.
    """
    given = {name: value for name in _UNSUPPORTED if (value := getattr(config, name, None)) is not None}
    if unused := [name for name, value in given.items() if value not in _UNSUPPORTED[name]]:
        got, fix = ", ".join(unused), "leave it out"
        expected = "max_tokens, stop_seqs, temperature, top_p and top_k"
        raise UnsupportedOptionError(message(got, expected, fix, task="answer for Inspect"))
    sampling = {name: getattr(config, name, None) for name in ("temperature", "top_p", "top_k")}
    return {
        "max_new_tokens": getattr(config, "max_tokens", None) or _MAX_NEW_TOKENS,
        "stop": list(getattr(config, "stop_seqs", None) or ()),
        **{name: value for name, value in sampling.items() if value is not None},
    }


@cache
def _provider() -> Any:
    from inspect_ai.model import ModelAPI, modelapi

    made = type("LvlmscopeAPI", (InspectMixin, ModelAPI), {"__module__": __name__, "__doc__": InspectMixin.__doc__})
    return modelapi(name="lvlmscope")(made)


def __getattr__(name: str) -> Any:
    if name != "provider":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _provider()
