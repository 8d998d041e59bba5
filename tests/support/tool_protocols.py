"""The parts of lmms-eval 0.7.3 and Inspect 0.3.285 that the bridges meet, with the names and fields of the packages."""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts | None = None


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class LmmsBase(ABC):
    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size, self.task_dict = 0, 1, {}

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None) -> Any:
        """Options split at commas, and at the first equals sign of each."""
        given = dict(pair.split("=", 1) for pair in arg_string.split(","))
        return cls(**given, **{name: value for name, value in (additional_config or {}).items() if value is not None})

    @abstractmethod
    def loglikelihood(self, requests: Any) -> Any: ...

    @abstractmethod
    def generate_until(self, requests: Any) -> Any: ...

    @abstractmethod
    def generate_until_multi_round(self, requests: Any) -> Any: ...


class InspectBase(ABC):
    def __init__(
        self, model_name: str, base_url: Any = None, api_key: Any = None, api_key_vars: Any = (), config: Any = None
    ) -> None:
        self.model_name, self.config = model_name, config
        self.base_url, self.api_key, self.api_key_vars = base_url, api_key, api_key_vars

    @abstractmethod
    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any: ...  # noqa: A002


@dataclass
class ModelUsage:
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


@dataclass
class ModelOutput:
    model: str
    completion: str
    stop_reason: str
    usage: ModelUsage | None = None
    time: float | None = None

    @staticmethod
    def from_content(model: str, content: str, stop_reason: str = "stop") -> "ModelOutput":
        return ModelOutput(model=model, completion=content, stop_reason=stop_reason)


@dataclass
class Registered:
    """What `modelapi` was given."""

    models: dict[str, type] = field(default_factory=dict)

    def modelapi(self, name: str) -> Any:
        def wrapper(model_type: type) -> type:
            self.models[name] = model_type
            return model_type

        return wrapper


def _placed(monkeypatch: pytest.MonkeyPatch, path: str, **names: Any) -> None:
    module = ModuleType(path)
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, path, module)


def lmms_eval_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import lmms_eval` find the recorded protocol."""
    for package in ("lmms_eval", "lmms_eval.api", "lmms_eval.models"):
        _placed(monkeypatch, package)
    _placed(monkeypatch, "lmms_eval.api.model", lmms=LmmsBase)
    _placed(monkeypatch, "lmms_eval.api.instance", GenerationResult=GenerationResult, TokenCounts=TokenCounts)
    _placed(monkeypatch, "lmms_eval.models.registry_v2", ModelManifest=ModelManifest)


def inspect_there(monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Let `import inspect_ai` find the recorded protocol."""
    found = Registered()
    _placed(monkeypatch, "inspect_ai")
    parts = {"ModelAPI": InspectBase, "ModelOutput": ModelOutput, "ModelUsage": ModelUsage}
    _placed(monkeypatch, "inspect_ai.model", modelapi=found.modelapi, **parts)
    return found


def part(**facts: Any) -> SimpleNamespace:
    """A part of a message, or a message, of Inspect."""
    return SimpleNamespace(**facts)
